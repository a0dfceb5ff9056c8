"""Greedy search step by step with backtracking (HGS-PRM, arXiv 2310.10080), on the steps that EDU sampling forks.

At each step a child that the PRM judges good is taken; where all children are judged bad, the search turns back to the
step before and tries its next child.
Our reading:

* A step ends at an anchor. Its children are tried one at a time: the greedy token first, then the runner-up; or with
  `samples` that many draws. A child is decoded to its next anchor and is good where the PRM's score of what stands
  before that is at least `accept`; what is no number is bad.
* A branch that ends is a solution at once: its last step is left to those who choose among solutions.
* After the first solution, which is HGS-PRM's, the search goes on depth-first, from the deepest step with a child that
  has not been tried, until `max_leaves` have ended.
* Turning back from a step without a good child is a backtrack. After `max_backtracks` the search ends.
* A tree has a solution: where the search found none, the rejected child of the highest score (the earlier one of
  equals) is decoded to its end. All others have finish "pruned", and so has what was under way.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.step_growth import StepGrowth, step_scores
from eduprm.search.strategies._options import GuidedOptions


class GreedySteps(GuidedOptions):
    """Takes the first good child of each step, and turns back where there is none.

    Examples:
        >>> async def sure(problem_id, prefixes):
        ...     return [1.0] * len(prefixes)
        >>> GreedySteps(scorer=sure, accept=0.7).tree
        'greedy-step'
    """

    accept: float = Field(default=0.5, ge=0.0, le=1.0, description="a child is good from this score on")
    max_backtracks: int = Field(
        default=16, ge=0, description="steps without a good child from which the search turns back"
    )
    samples: int | None = Field(
        default=None, ge=1, description="draws from each step; none for the greedy token and the runner-up"
    )
    temperature: float = Field(default=0.1, gt=0.0, description="of the softmax the tokens are drawn from")

    @property
    def title(self) -> str:
        """As tables show it."""
        return "greedy steps"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "greedy-step"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Solutions in the order in which they ended, then the branches that were given up."""
        growth = StepGrowth(
            prompt_ids, problem_id, engine, tokenizer, cut=self.cut, budget=self.budget,
            piece_tokens=self.piece_tokens, temperature=self.temperature if self.samples else 0.0, seed=self.seed,
        )  # fmt: skip
        root = await growth.start()
        at = await growth.next_anchor(root, -1)
        rejected = [] if at is None else await self._search(growth, problem_id, _Step(root, at))
        if not growth.num_ended:
            # The first of equals: max keeps it.
            _, best = max(rejected, key=lambda one: one[0])
            await growth.to_end(best)
        branches = growth.finished()
        root.greedy = self.samples is None and root.finish != "pruned"
        return branches

    async def _search(self, growth: StepGrowth, problem_id: str, first: _Step) -> list[tuple[float, Branch]]:
        """Search depth-first; the rejected children with their scores."""
        rejected: list[tuple[float, Branch]] = []
        path, backtracks = [first], 0
        while path and not growth.full:
            step = path[-1]
            child = await self._next_child(growth, step)
            if child is None:
                path.pop()
                backtracks += not step.accepted
                if backtracks > self.max_backtracks:
                    break
                continue
            position = await growth.next_anchor(child, step.at)
            if position is None:
                step.accepted = True
                continue
            [score] = await step_scores(self.scorer, problem_id, [(child, position)])
            if score >= self.accept:
                step.accepted = True
                path.append(_Step(child, position))
            else:
                rejected.append((score, child))
        return rejected

    async def _next_child(self, growth: StepGrowth, step: _Step) -> Branch | None:
        """The step's next child; None when all have been tried or the budget is spent."""
        if step.tried >= (self.samples or 2):
            return None
        step.tried += 1
        return await growth.child(step.branch, step.at, step.tried - 1)


Strategy = GreedySteps


@dataclass(slots=True, eq=False)
class _Step:
    """A step on the way: the branch that stands at its end, the anchor there, children tried, whether one was good."""

    branch: Branch
    at: int
    tried: int = 0
    accepted: bool = False
