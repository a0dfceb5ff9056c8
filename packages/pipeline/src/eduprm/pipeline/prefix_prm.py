"""PRMs of ours as a run opens them, and as what P-EDU and its like ask while a tree grows.

Beginnings of solutions get scores; what becomes of a score, the strategy knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from eduprm.core.command_line import UsageError
from eduprm.policy import resolve_model
from eduprm.search import PolicySettings

if TYPE_CHECKING:
    from eduprm.prm import InputBuilder, ProcessRewardModel

_Prefix = tuple[str, tuple[int, ...]]

NOT_BEGUN = 0.5
"""Score of a beginning without any token: nothing speaks for or against it, and logits of it are 0."""
ENDED_EMPTY = 0.0
"""Score of the stop token alone: a solution that ended without a word answers nothing."""


def open_prm(name: str | Path, policy: PolicySettings) -> ProcessRewardModel:
    """Load a PRM of ours onto the policy's device.

    Args:
        name: folder or bundled name.
        policy: says the device, and whether code that comes with a model may run.

    Raises:
        UsageError: it cannot be read, or is no PRM of ours.
    """
    from eduprm.prm import InputBuilder, ProcessRewardModel

    try:
        prm = ProcessRewardModel.from_pretrained(
            resolve_model(str(name)), policy.device, trust_remote_code=policy.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"PRM {str(name)!r} cannot be read: {error}") from None
    if not isinstance(prm.builder, InputBuilder):
        raise UsageError(f"PRM {str(name)!r}: expected one that reads the policy's tokens")
    return prm


class PrefixPrm:
    """`eduprm.search.PrefixScorer` of a PRM, read when it is first asked. A beginning is scored as one step.

    A PRM scores tokens, and has none to score where a beginning is empty or the stop token alone (that is not read as
    part of a step). Whatever the PRM scores by, the former is worth `NOT_BEGUN` and the latter `ENDED_EMPTY`. By
    likelihood both would be the product of no probabilities, 1, and a search would end its solutions at once.

    What trees that grow side by side ask for at the same time is scored together, and no prefix twice.

    Args:
        name: folder or bundled name.
        questions: problem_id to question.
        policy: what grows the trees.

    Raises:
        UsageError: when first asked: as `open_prm`.
    """

    def __init__(self, name: str | Path, questions: Mapping[str, str], policy: PolicySettings) -> None:
        self._name, self._questions, self._policy = name, questions, policy
        self._known: dict[_Prefix, float] = {}
        self._waiting: dict[_Prefix, None] = {}
        self._pass: asyncio.Task[None] | None = None

    @cached_property
    def model(self) -> ProcessRewardModel:
        """The PRM itself."""
        return open_prm(self._name, self._policy)

    def release(self) -> None:
        """Let go of the PRM and of the scores that are known; it is read again when asked."""
        self.__dict__.pop("model", None)
        self._known.clear()

    async def __call__(self, problem_id: str, prefixes: Sequence[tuple[int, ...]]) -> list[float]:
        """One score per prefix of generated token ids."""
        asked = [(problem_id, ids) for ids in prefixes]
        if new := [one for one in asked if one not in self._known]:
            self._waiting |= dict.fromkeys(new)
            if self._pass is None:
                self._pass = asyncio.create_task(self._score())
            await asyncio.shield(self._pass)
        return [self._known[one] for one in asked]

    async def _score(self) -> None:
        # Trees that an engine's step woke with this one ask in the same turn of the loop.
        await asyncio.sleep(0)
        waiting, self._waiting, self._pass = list(self._waiting), {}, None
        builder: InputBuilder = self.model.builder  # type: ignore[assignment]  # as open_prm has seen
        steps = {one: builder.node_ids(one[1], ends=False) for one in waiting}
        # A separator of the input format is no token of the beginning.
        bare = {one for one in waiting if steps[one] == builder.separator_ids}
        solutions = {
            one: (builder.prompt_ids(self._questions[one[0]]), [step])
            for one, step in steps.items()
            if one not in bare
        }
        scores = self.model.score_ids(list(solutions.values())) if solutions else []
        self._known.update({one: own[-1] for one, own in zip(solutions, scores, strict=True)})
        self._known.update({one: ENDED_EMPTY if one[1] else NOT_BEGUN for one in bare})
