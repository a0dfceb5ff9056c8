"""P-EDU: EDU sampling that stops a branch as soon as a process reward model (PRM) rejects one of its steps.

The public reviews of EDU-PRM (arXiv 2503.22233) say that branches are stopped where the PRM's score is below 0.2; the
rest is our reading of it:

* A score is asked for at the end of each step, so at each anchor, for the tokens before it. A branch that is rejected
  there is not decoded further and has no answer (finish "pruned"); no fork leaves it at that anchor or behind it.
* The greedy path is decoded to its end whatever its scores, so that every tree has a solution; forks leave it only
  before the first step that was rejected. At the first token there is no step before, so nothing to reject.
* `stop_quantile` takes the bound from the PRM's own scores: 0.2 says nothing where all scores are small.
* `max_leaves` counts finished solutions; stopped branches cost tokens, and `max_stopped` bounds them.

An engine runs a request to its end, so a path is asked for in pieces of `piece_tokens`; what a piece decoded behind the
rejected step is kept in the tree and counts as cost. Which solutions come out does not depend on the size of a piece.
The PRM is a function of token ids: nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.growth import Fork, TreeGrowth, extended
from eduprm.search.strategies._contract import ScoreQuantiles
from eduprm.search.strategies.edu import EduSampling


class PrunedEdu(EduSampling):
    """EDU sampling whose branches a PRM may stop.

    Examples:
        >>> async def sure(problem_id, prefixes):
        ...     return [1.0] * len(prefixes)
        >>> PrunedEdu(scorer=sure, threshold=0.5).tree
        'edu-pruned'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    scorer: Callable[[str, Sequence[tuple[int, ...]]], Awaitable[Sequence[float]]] = Field(
        exclude=True, repr=False, description="the PRM: a `PrefixScorer`"
    )
    stop_below: float = Field(
        default=0.2, ge=0.0, le=1.0, description="a step is rejected where its score is below this"
    )
    stop_quantile: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="the bound is what this share of the PRM's scores lie below, in place of stop_below; of a scorer "
        "that knows its quantiles (`ScoreQuantiles`)",
    )
    piece_tokens: int = Field(
        default=16,
        ge=1,
        description="tokens asked for between two looks at the scores; smaller wastes fewer, and asks more often",
    )
    max_stopped: int = Field(
        default=64, ge=0, description="stopped branches after which no more forks are taken"
    )

    @model_validator(mode="after")
    def _has_quantiles(self) -> PrunedEdu:
        if self.stop_quantile is not None and not isinstance(self.scorer, ScoreQuantiles):
            raise ValueError("stop_quantile: expected a scorer with quantile(share), got one without")
        return self

    @property
    def after_training_trees(self) -> bool:
        """Whether the bound is known only once there are trees to read it off."""
        return self.stop_quantile is not None

    async def bound(self) -> float:
        """The score below which a step is rejected."""
        if self.stop_quantile is None:
            return self.stop_below
        found: float = await self.scorer.quantile(self.stop_quantile)  # type: ignore[attr-defined]  # as validated
        return found

    @property
    def title(self) -> str:
        """As tables show it."""
        return "P-EDU"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "edu-pruned"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Branches in the order they were found, stopped ones too; the first is the greedy path."""
        return await _PrunedGrowth(self, prompt_ids, problem_id, engine, tokenizer).run()


Strategy = PrunedEdu


class _PrunedGrowth(TreeGrowth[PrunedEdu]):
    """One tree on its way, and at which position each of its branches was rejected."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._rejected_at: dict[tuple[int, int, int], int] = {}

    async def _greedy_path(self) -> Branch:
        branch = await super()._greedy_path()
        await self._judge(branch, super()._forkable(branch))
        return branch

    async def _decoded(self, fork: Fork) -> Branch:
        branch, request = fork
        judged = branch.start
        while request is not None:
            size = min(self._strategy.piece_tokens, request.max_new_tokens)
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
        scores = await self._strategy.scorer(self._group, prefixes)
        if len(scores) != len(steps):
            raise ValueError(f"expected a score for each of {len(steps)} prefixes, got {len(scores)}")
        # Not "below": a score that is no number rejects too.
        bound = await self._strategy.bound()
        bad = [p for p, score in zip(steps, scores, strict=True) if not score >= bound]
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
        if stopped >= self._strategy.max_stopped:
            return self._budget.max_leaves
        return len(self._branches) - stopped
