"""MCTS-EDU: Monte Carlo tree search over the anchors of an EDU tree, with a process reward model (PRM) as the value.

EDU-PRM (arXiv 2503.22233) names the method and gives no details; all of this is our reading:

* A state is an anchor: the tokens before it. Its two actions are the greedy token and the runner-up there.
* A rollout is greedy: the path from a runner-up to its end, and first of all the greedy path itself. Every rollout is
  a solution of the tree, so `max_leaves` counts rollouts. The anchors that it passes become states.
* The value of a rollout is the PRM's score of its whole solution. It is backed up as a mean along the states walked
  through and those that the rollout passed; what is no number counts as 0.
* A walk from the first anchor takes the action of highest Q + c sqrt(ln N / n) (UCT: N visits of the state, n of the
  action; ties go to the greedy token) and ends at the first state whose runner-up has not been taken: each action is
  tried once before one is repeated, so with one value for all the search goes breadth-first.
* A greedy path is the same each time, so states below which nothing is left to be tried are not walked into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field

from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.step_growth import Scorer, StepGrowth, step_scores
from eduprm.search.strategies._options import StepOptions


class MctsEdu(StepOptions):
    """UCT over anchors, the PRM's score of finished solutions as value.

    Examples:
        >>> async def sure(problem_id, prefixes):
        ...     return [1.0] * len(prefixes)
        >>> MctsEdu(scorer=sure, exploration=0.5).tree
        'mcts-edu'
    """

    scorer: Scorer = Field(exclude=True, repr=False, description="the PRM: a `PrefixScorer`")
    exploration: float = Field(
        default=1.0,
        ge=0.0,
        description="c of UCT; 0 follows the best mean score, large values go breadth-first",
    )

    @property
    def title(self) -> str:
        """As tables show it."""
        return "MCTS-EDU"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "mcts-edu"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Branches in the order they were found; the first is the greedy path."""
        growth = StepGrowth(
            prompt_ids, problem_id, engine, tokenizer, cut=self.cut, budget=self.budget,
            piece_tokens=self.budget.max_tokens_per_path,
        )  # fmt: skip
        states = _States(growth, self.exploration)
        branch = await growth.start()
        branch.greedy = True
        walk: list[_State] = []
        while True:
            passed = states.add(branch, await growth.to_end(branch))
            if walk:
                walk[-1].other = passed[0]
            [value] = await step_scores(self.scorer, problem_id, [(branch, branch.stop)])
            for state in (*walk, *passed):
                state.visits += 1
                state.total += value
            walk = states.walk()
            if not walk:
                return growth.finished()
            branch = growth.leave_by_runner_up(walk[-1].branch, walk[-1].position)


Strategy = MctsEdu


@dataclass(slots=True, eq=False)
class _State:
    """An anchor, or the end of a path, which has no actions.

    Attributes:
        branch: holds the greedy token there.
        position: of the anchor; of an end, the path's length.
        greedy: what the greedy token leads to; None for an end.
        other: what the runner-up leads to; None while it has not been taken.
        visits: rollouts through it.
        total: sum of their values.
        open: whether something is left to be tried at it or below, as `_States.walk` found last.
    """

    branch: Branch
    position: int
    greedy: _State | None = None
    other: _State | None = None
    visits: int = 0
    total: float = 0.0
    open: bool = False


class _States:
    """The states of one tree, those before others on a path first."""

    def __init__(self, growth: StepGrowth, exploration: float) -> None:
        self._growth, self._exploration = growth, exploration
        self._all: list[_State] = []

    def add(self, branch: Branch, anchors: list[int]) -> list[_State]:
        """The states that a finished branch passes by its own tokens, its end the last."""
        passed = [_State(branch, position) for position in (*anchors, branch.stop)]
        for state, following in pairwise(passed):
            state.greedy = following
        self._all.extend(passed)
        return passed

    def walk(self) -> list[_State]:
        """States from the first anchor to the one whose runner-up is taken next; none when nothing is left."""
        for state in reversed(self._all):
            below = [child for child in (state.greedy, state.other) if child is not None]
            state.open = any(child.open for child in below) or self._untried(state)
        if not self._all[0].open:
            return []
        walk = [self._all[0]]
        while not self._untried(walk[-1]):
            walk.append(self._best(walk[-1]))
        return walk

    def _untried(self, state: _State) -> bool:
        """Whether the runner-up may still be taken."""
        return (
            state.greedy is not None
            and state.other is None
            and self._growth.may_leave(state.branch, state.position)
        )

    def _best(self, state: _State) -> _State:
        """The action of highest upper bound, of those with something left to be tried."""
        children = [child for child in (state.greedy, state.other) if child is not None and child.open]
        return max(
            children,
            key=lambda child: (
                child.total / child.visits
                + self._exploration * math.sqrt(math.log(state.visits) / child.visits)
            ),
        )
