"""From problems and steps to one score per step, or the reason why there is none.

The one way for apps, benchmarks and the service: tokenise, compare with the context, score, and see that the scores are
numbers. One solution that cannot be scored spoils nothing but itself. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from eduprm.core.errors import UsageError, first_line

__all__ = [
    "IdScorer",
    "Ids",
    "ReadSolution",
    "StepScorer",
    "StepScores",
    "checked",
    "read_steps",
    "score_steps",
]

Ids = tuple[Sequence[int], Sequence[Sequence[int]]]
"""A prompt's token ids, and those of each step."""


class StepScores(NamedTuple):
    """Either `scores`, one in [0, 1] per step, or `rejected`, one line that says why there are none.

    `tokens`: of the problem with the solution, 0 where they could not be read. `joiner`: what was put between the
    steps, "" for nothing.
    """

    scores: list[float] | None
    tokens: int = 0
    rejected: str | None = None
    joiner: str = ""


class StepScorer(Protocol):
    """A PRM that is ready, in this process or elsewhere."""

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        """Score (problem, steps) pairs; one result each, in order.

        Args:
            solutions: of one problem best together: what they share is computed once.
            complete: the last step ends the solution.
            as_cut: the steps are pieces of one text, which join back to it as they are.

        Raises:
            UsageError: nothing can be scored any more (no memory, a service that is gone).
        """
        ...


class IdScorer(Protocol):
    """What scores token ids: `eduprm.prm.ProcessRewardModel`, or a server's language model."""

    builder: Any  # an `eduprm.prm.inputs.StepBuilder`; Any, so that builders with further arguments fit
    max_tokens: int | None

    def score_ids(self, solutions: Sequence[Ids]) -> Sequence[list[float] | str]:
        """One score in [0, 1] per step of each solution, or why there are none."""
        ...


class ReadSolution(NamedTuple):
    """A solution as the PRM reads it."""

    ids: tuple[list[int], list[list[int]]]
    joiner: str

    @property
    def num_tokens(self) -> int:
        """Of the prompt with all steps."""
        return len(self.ids[0]) + sum(map(len, self.ids[1]))


def read_steps(
    prm: IdScorer,
    problem: str,
    steps: Sequence[str],
    *,
    complete: bool,
    as_cut: bool,
    prompts: dict[str, list[int]],
) -> ReadSolution | StepScores:
    """Tokenise a solution, or say why the PRM does not take it.

    Args:
        prm: its builder and its context are used.
        problem: text.
        steps: texts.
        complete: as `StepScorer.score_steps`.
        as_cut: likewise.
        prompts: ids of problems read before, by their text; added to.
    """
    builder = prm.builder
    try:
        prompt = prompts.get(problem)
        if prompt is None:
            prompt = prompts[problem] = builder.prompt_ids(problem)
        ids = prompt, builder.solution_ids(steps, complete=complete, as_cut=as_cut)
        joiner = "" if as_cut else builder.added_joiner(steps, complete=complete)
    except ValueError as error:
        return StepScores(None, rejected=f"cannot be read by the PRM ({first_line(error)}); take it out")
    read = ReadSolution(ids, joiner)
    if prm.max_tokens is not None and read.num_tokens > prm.max_tokens:
        reason = (
            f"it has {read.num_tokens} tokens with its problem, the PRM's context holds {prm.max_tokens}; "
            "shorten it or use a PRM with a longer context"
        )
        return StepScores(None, read.num_tokens, reason)
    return read


def checked(read: ReadSolution, scores: list[float] | str) -> StepScores:
    """What became of a solution that was read; scores that are no numbers are rejected."""
    if isinstance(scores, str):
        return StepScores(None, read.num_tokens, scores)
    if not all(map(math.isfinite, scores)):
        reason = "the PRM's scores are not numbers; try --dtype float32"
        return StepScores(None, read.num_tokens, reason)
    return StepScores(scores, read.num_tokens, joiner=read.joiner)


def score_steps(
    prm: IdScorer,
    solutions: Sequence[tuple[str, Sequence[str]]],
    *,
    complete: bool = True,
    as_cut: bool = False,
) -> list[StepScores]:
    """Score (problem, steps) pairs with what scores ids: `StepScorer.score_steps` of everything that does.

    Raises:
        UsageError: out of memory.

    Examples:
        >>> import tempfile
        >>> from eduprm.prm import load_step_scorer
        >>> from eduprm.prm.testing import tiny_prm
        >>> prm = load_step_scorer(tiny_prm(tempfile.mkdtemp() + "/prm"))
        >>> good, bad = score_steps(prm, [("2 * 3?", ["2 * 3 = 6\\n", "#### 6"]), ("2 * 3?", [])])
        >>> len(good.scores), bad.rejected
        (2, 'cannot be read by the PRM (expected a non-empty list of steps, got []); take it out')
    """
    prompts: dict[str, list[int]] = {}
    read = [
        read_steps(prm, problem, steps, complete=complete, as_cut=as_cut, prompts=prompts)
        for problem, steps in solutions
    ]
    sent = [one.ids for one in read if isinstance(one, ReadSolution)]
    try:
        scores = iter(prm.score_ids(sent) if sent else [])
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        most = getattr(prm, "batch_tokens", None)
        raise UsageError(f"--batch-tokens: out of memory with {most}; set it lower") from error
    return [checked(one, next(scores)) if isinstance(one, ReadSolution) else one for one in read]
