"""Score the steps of a chunk's solutions with the PRM.

For: steps and one score each for every solution that fits the PRM's context; the others are rejected, one by one.
Does not know: files, ranking. With `anchors`, the only module that loads torch, and only when it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eduprm.prm import ProcessRewardModel
from rerank_app.anchors import EntropyCutter
from rerank_app.errors import Rejection, UsageError, first_line
from rerank_app.rows import Problem, Solution
from rerank_app.settings import Settings
from rerank_app.steps import cut_steps


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A solution, its steps (which join to its text) and one score in [0, 1] for each."""

    solution: Solution
    steps: list[str]
    step_scores: list[float]


@dataclass(frozen=True)
class _Item:
    """A solution as the PRM reads it."""

    problem: int
    solution: Solution
    steps: list[str]
    ids: tuple[list[int], list[list[int]]]


class Scorer:
    """A loaded PRM and the settings of cutting.

    Raises:
        UsageError: the folder holds no PRM that can be loaded.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings = settings
        try:
            self.prm = ProcessRewardModel.from_pretrained(
                folder, settings.device, settings.dtype, batch_tokens=settings.batch_tokens
            )
        except (
            Exception
        ) as error:  # transformers, safetensors and tokenizers raise many kinds; the cause is kept
            where = "" if settings.device is None else f" on --device {settings.device}"
            message = f"--prm: {folder} cannot be loaded as a PRM{where}: {first_line(error)}"
            raise UsageError(message) from error
        self._cutter = (
            EntropyCutter(settings.policy, device=settings.device) if settings.segment == "entropy" else None
        )

    def score(self, problems: Sequence[Problem]) -> tuple[list[list[Scored]], list[Rejection]]:
        """Score all solutions of some problems.

        Returns:
            Per problem its scored solutions in their order, and the solutions that could not be scored.
        """
        items: list[_Item] = []
        rejected: list[Rejection] = []
        if self._cutter is not None:
            self._cutter.reset()
        for number, problem in enumerate(problems):
            prompt = self.prm.builder.prompt_ids(problem.text)
            for solution in problem.solutions:
                item = self._item(number, problem, prompt, solution)
                if isinstance(item, str):
                    rejected.append(_reject(problem, solution, item))
                else:
                    items.append(item)
        results: list[list[Scored]] = [[] for _ in problems]
        for item, scores in zip(items, self._forward(items), strict=True):
            if not all(map(math.isfinite, scores)):
                reason = "the PRM's scores are not numbers; try --dtype float32"
                rejected.append(_reject(problems[item.problem], item.solution, reason))
                continue
            scored = Scored(solution=item.solution, steps=item.steps, step_scores=scores)
            results[item.problem].append(scored)
        return results, rejected

    def _item(self, number: int, problem: Problem, prompt: list[int], solution: Solution) -> _Item | str:
        """Build the PRM's input, or say why there is none."""
        try:
            steps = self._steps(problem.text, solution.text)
        except ValueError as error:
            return (
                f"cannot be cut by the policy ({first_line(error)}); take it out or cut with --segment lines"
            )
        try:
            ids = self.prm.builder.solution_ids(steps)
        except ValueError as error:
            return f"cannot be read by the PRM ({first_line(error)}); take it out"
        total = len(prompt) + sum(map(len, ids))
        most = self.prm.max_tokens
        if most is not None and total > most:
            return (
                f"it has {total} tokens with its problem, the PRM's context holds {most}; "
                "shorten it or use a PRM with a longer context"
            )
        return _Item(number, solution, steps, (prompt, ids))

    def _steps(self, problem: str, text: str) -> list[str]:
        if self._cutter is not None:
            return self._cutter.steps(problem, text)
        return cut_steps(text, segment=self.settings.segment, fixed_words=self.settings.fixed_words)

    def _forward(self, items: Sequence[_Item]) -> list[list[float]]:
        try:
            return self.prm.score_ids([item.ids for item in items]) if items else []
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            raise UsageError(
                f"out of memory with --batch-tokens {self.settings.batch_tokens}; set it lower"
            ) from error


def _reject(problem: Problem, solution: Solution, reason: str) -> Rejection:
    return Rejection(row=solution.row, id=problem.id, solution=solution.index, reason=reason)
