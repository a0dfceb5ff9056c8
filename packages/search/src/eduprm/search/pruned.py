"""P-EDU: EDU sampling that stops a branch as soon as a process reward model (PRM) rejects one of its steps.

The public reviews of EDU-PRM (arXiv 2503.22233) say that branches are stopped where the PRM's score is below 0.2; the
rest is our reading of it:

* A score is asked for at the end of each step, so at each anchor, for the tokens before it. A branch that is rejected
  there is not decoded further and has no answer (finish "pruned"); no fork leaves it at that anchor or behind it.
* The greedy path is decoded to its end whatever its scores, so that every tree has a solution; forks leave it only
  before the first step that was rejected. At the first token there is no step before, so nothing to reject.
* `max_leaves` counts finished solutions; stopped branches cost tokens, and `max_stopped` bounds them.

An engine runs a request to its end, so a path is asked for in pieces of `piece_tokens`; what a piece decoded behind the
rejected step is kept in the tree and counts as cost. Which solutions come out does not depend on the size of a piece.
The PRM is a function of token ids: nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from eduprm.search.branches import Branch, CutRule
from eduprm.search.contract import Engine, TokenDecoder
from eduprm.search.edu import EduSampling
from eduprm.search.growth import Fork, TreeGrowth, extended


class PrefixScorer(Protocol):
    """Scores beginnings of solutions; awaited, so that a PRM may answer over a network."""

    async def __call__(self, problem_id: str, prefixes: Sequence[tuple[int, ...]]) -> Sequence[float]:
        """One score in [0, 1] per prefix: generated token ids from the solution's first, the prompt left out."""
        ...


@dataclass(frozen=True, kw_only=True)
class PrunedEdu:
    """EDU sampling whose branches a PRM may stop.

    Attributes:
        edu: what is forked, in which order, within which budget.
        scorer: the PRM.
        stop_below: a step is rejected where its score is below this.
        piece_tokens: tokens asked for between two looks at the scores; smaller wastes fewer, and asks more often.
        max_stopped: stopped branches after which no more forks are taken.

    Raises:
        ValueError: a setting out of range.
    """

    edu: EduSampling
    scorer: PrefixScorer
    stop_below: float = 0.2
    piece_tokens: int = 16
    max_stopped: int = 64

    def __post_init__(self) -> None:
        if not 0.0 <= self.stop_below <= 1.0:
            raise ValueError(f"stop_below: expected a score from 0 to 1, got {self.stop_below}")
        for name, least in (("piece_tokens", 1), ("max_stopped", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "edu-pruned"

    @property
    def cut(self) -> CutRule:
        """Paths are cut at all anchors, forked or not."""
        return self.edu.cut

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, decoder: TokenDecoder
    ) -> list[Branch]:
        """Branches in the order they were found; the first is the greedy path."""
        return await _PrunedGrowth(self, prompt_ids, problem_id, engine, decoder).run()


class _PrunedGrowth(TreeGrowth):
    """One tree on its way, and at which position each of its branches was rejected."""

    def __init__(
        self,
        strategy: PrunedEdu,
        prompt_ids: tuple[int, ...],
        problem_id: str,
        engine: Engine,
        decoder: TokenDecoder,
    ) -> None:
        super().__init__(strategy.edu, prompt_ids, problem_id, engine, decoder)
        self._pruning = strategy
        self._rejected_at: dict[tuple[int, int, int], int] = {}

    async def _greedy_path(self) -> Branch:
        branch = await super()._greedy_path()
        await self._judge(branch, super()._forkable(branch))
        return branch

    async def _decoded(self, fork: Fork) -> Branch:
        branch, request = fork
        judged = branch.start
        while request is not None:
            size = min(self._pruning.piece_tokens, request.max_new_tokens)
            done = await self._engine.generate(replace(request, max_new_tokens=size))
            branch = extended(branch, done)
            steps = [position for position in super()._forkable(branch) if position > judged]
            judged = branch.stop - 1
            if await self._judge(branch, steps):
                return replace(branch, finish="pruned")
            left = request.max_new_tokens - len(done.token_ids)
            if done.finish == "stop" or left < 1:
                break
            ids = (*request.prefix_ids, *done.token_ids.tolist())
            request = replace(request, prefix_ids=ids, max_new_tokens=left)
        return branch

    async def _judge(self, branch: Branch, steps: list[int]) -> bool:
        """Whether one of the steps that end before these positions is rejected; the first such position is noted."""
        steps = [position for position in steps if position > 0]  # before the first token there is no step
        if not steps:
            return False
        prefixes = [branch.path_ids(position) for position in steps]
        scores = await self._pruning.scorer(self._group, prefixes)
        if len(scores) != len(steps):
            raise ValueError(f"expected a score for each of {len(steps)} prefixes, got {len(scores)}")
        # Not "below": a score that is no number rejects too.
        bad = [p for p, score in zip(steps, scores, strict=True) if not score >= self._pruning.stop_below]
        if bad:
            self._rejected_at[self._key(branch)] = bad[0]
        return bool(bad)

    @staticmethod
    def _key(branch: Branch) -> tuple[int, int, int]:
        """What tells a branch from others while it is still being put together."""
        return id(branch.parent), branch.start, int(branch.token_ids[0])

    def _forkable(self, branch: Branch) -> list[int]:
        limit = self._rejected_at.get(self._key(branch), branch.stop)
        return [position for position in super()._forkable(branch) if position < limit]

    def _num_leaves(self) -> int:
        stopped = sum(branch.finish == "pruned" for branch in self._branches)
        if stopped >= self._pruning.max_stopped:
            return self._budget.max_leaves
        return len(self._branches) - stopped
