"""OmegaPRM (arXiv 2406.06592): rollouts graded by their answers, and a binary search for the first wrong step.

A state is a beginning of a solution; MC(s) is the share of right ones among `rollouts` draws from it. Wrong rollouts r
of states with 0 < MC(s) < 1 wait. The one with the highest Q + U is searched next:

    Q(s, r) = alpha^(1 - MC(s)) beta^(len(r) / length)        U(s) = exploration sqrt(sum of N) / (1 + N(s))

N counts how often a state was chosen, the sum is over all states, len(r) is in tokens. The search halves the steps of r
behind s: the middle becomes a state with rollouts of its own; with MC > 0 the first wrong step lies behind it, with
MC = 0 before it. The constants are openr's (data/omegaPRM_v2), but for `rollouts`, where it has 16: `max_leaves` counts
all rollouts of a tree, and a state that spends them all leaves no search.
Our reading:

* A step ends at an anchor, and each wrong rollout is searched once (openr puts it back). Equal scores: the one found
  earlier.
* All rollouts stay in the tree as its solutions, right and wrong. Where the search looked, a node has more of them, so
  a label rule's share of right leaves is not MC of that node alone.
* The tree knows the gold answers: it is made for training. Best-of-N on trees of held-out problems says nothing about
  the strategy as a way of answering.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from pydantic import Field, model_validator

from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.step_growth import StepGrowth
from eduprm.search.strategies._options import StepOptions


class OmegaPrm(StepOptions):
    """Monte Carlo rollouts where the first wrong step is sought.

    Examples:
        >>> async def none_right(problem_id, texts):
        ...     return [False] * len(texts)
        >>> OmegaPrm(grader=none_right, rollouts=2).tree
        'omega-prm'
    """

    never_greedy: ClassVar[bool] = True

    grader: Callable[[str, Sequence[str]], Awaitable[Sequence[bool]]] = Field(
        exclude=True, repr=False, description="says which solutions are right: a `SolutionGrader`"
    )
    rollouts: int = Field(default=4, ge=2, description="k: draws from each state")
    alpha: float = Field(
        default=0.5, gt=0.0, le=1.0, description="of Q: the smaller, the more MC near 1 counts"
    )
    beta: float = Field(
        default=0.9, gt=0.0, le=1.0, description="of Q: the smaller, the less long rollouts count"
    )
    length: int = Field(default=500, ge=1, description="of Q: tokens at which beta counts once")
    exploration: float = Field(default=0.125, ge=0.0, description="c of U")
    temperature: float = Field(default=0.7, gt=0.0, description="of the softmax the tokens are drawn from")
    seed: int = Field(default=0, description="of the draws")

    @model_validator(mode="after")
    def _leaves_for_a_search(self) -> OmegaPrm:
        if self.rollouts >= self.budget.max_leaves:
            raise ValueError(
                f"rollouts: expected less than max_leaves, got {self.rollouts} with {self.budget.max_leaves}: the "
                "prompt's rollouts would be the whole tree; raise max_leaves or lower rollouts"
            )
        return self

    def priority(self, value: float, length: int, visits: int, visits_of_all: int) -> float:
        """Q + U of a wrong rollout of `length` tokens from a state of MC `value`, chosen `visits` times.

        Examples:
            >>> async def none_right(problem_id, texts):
            ...     return [False] * len(texts)
            >>> round(OmegaPrm(grader=none_right).priority(0.75, 100, 1, 4), 4)  # .5^.25 .9^.2 + .125 sqrt(4) / 2
            0.9484
        """
        quality = self.alpha ** (1 - value) * self.beta ** (length / self.length)
        return float(quality + self.exploration * math.sqrt(visits_of_all) / (1 + visits))

    @property
    def title(self) -> str:
        """As tables show it."""
        return "OmegaPRM"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "omega-prm"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Rollouts in the order in which they were drawn."""
        growth = StepGrowth(
            prompt_ids, problem_id, engine, tokenizer, cut=self.cut, budget=self.budget,
            piece_tokens=self.budget.max_tokens_per_path, temperature=self.temperature, seed=self.seed,
        )  # fmt: skip
        await _Search(self, growth, problem_id, tokenizer).run()
        return growth.finished()


Strategy = OmegaPrm


class _Rollout(NamedTuple):
    """A branch drawn from a state to its end, and the anchors of its own tokens behind the first."""

    branch: Branch
    anchors: list[int]


@dataclass(slots=True, eq=False)
class _State:
    """A beginning: the tokens of `branch` before `position`, or the bare prompt; how often it was chosen; MC."""

    branch: Branch | None
    position: int
    visits: int = 0
    value: float = 0.0


class _Search:
    """One tree on its way."""

    def __init__(self, options: OmegaPrm, growth: StepGrowth, problem_id: str, tokenizer: Tokenizer) -> None:
        self._options, self._growth = options, growth
        self._problem_id, self._tokenizer = problem_id, tokenizer
        self._visits = 0
        self._waiting: list[tuple[_State, _Rollout]] = []

    async def run(self) -> None:
        """Grow the tree until the budget is spent or no rollout waits."""
        await self._estimate(_State(None, 0))
        while self._waiting and not self._growth.full:
            chosen = max(self._waiting, key=lambda one: self._priority(*one))
            self._waiting.remove(chosen)
            state, rollout = chosen
            state.visits += 1
            self._visits += 1
            await self._find_first_wrong(rollout)

    def _priority(self, state: _State, rollout: _Rollout) -> float:
        length = len(rollout.branch.token_ids)
        return self._options.priority(state.value, length, state.visits, self._visits)

    async def _find_first_wrong(self, rollout: _Rollout) -> None:
        """Halve the rollout's steps; every middle becomes a state."""
        low, high = 0, len(rollout.anchors)
        while low < high:
            middle = (low + high) // 2
            state = _State(rollout.branch, rollout.anchors[middle])
            if not await self._estimate(state):
                return
            low, high = (low, middle) if state.value == 0 else (middle + 1, high)

    async def _estimate(self, state: _State) -> bool:
        """Draw the state's rollouts and grade them; False where the budget allowed none."""
        drawn: list[_Rollout] = []
        while len(drawn) < self._options.rollouts and self._may_draw(state):
            branch = (
                await self._growth.start()
                if state.branch is None
                else await self._growth.leave_by_draw(state.branch, state.position)
            )
            anchors = await self._growth.to_end(branch)
            drawn.append(_Rollout(branch, [position for position in anchors if position > branch.start]))
        if not drawn:
            return False
        right = await self._graded(drawn)
        state.value = sum(right) / len(right)
        if 0 < state.value < 1:
            self._waiting += [(state, one) for one, good in zip(drawn, right, strict=True) if not good]
        return True

    def _may_draw(self, state: _State) -> bool:
        if state.branch is None:
            return self._growth.may_start()
        return self._growth.may_leave(state.branch, state.position)

    async def _graded(self, drawn: list[_Rollout]) -> list[bool]:
        texts = [self._tokenizer.decode(list(one.branch.path_ids())) for one in drawn]
        right = list(await self._options.grader(self._problem_id, texts))
        if len(right) != len(texts):
            raise ValueError(f"expected a grade for each of {len(texts)} solutions, got {len(right)}")
        return right
