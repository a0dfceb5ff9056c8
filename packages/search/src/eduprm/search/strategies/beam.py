"""PRM-guided beam search over steps, as search-and-learn and its_hub have it, on the tree that EDU sampling forks.

A step ends at an anchor. Of the branches that stand at one, the `width` whose beginnings the PRM scores highest go on;
each into its greedy token and the runner-up there, or with `samples` into as many draws (its own going on, and the
others anew), and every one of those is decoded to its next anchor.
Our reading:

* A branch that has ended is a solution at once and takes no place in the beam; the search goes on until `max_leaves`
  have ended or nothing is left to go on. Branches not kept, or still under way then, have finish "pruned".
* The PRM is asked only where more branches stand than are kept. Equal scores: the branch found earlier.
* The runner-up token, and the first token of a draw, is not forked again.
* Without draws the greedy path is among the solutions only where the PRM keeps it.
"""

from __future__ import annotations

from pydantic import Field

from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.step_growth import StepGrowth, step_scores
from eduprm.search.strategies._options import GuidedOptions


class BeamSearch(GuidedOptions):
    """Keeps the best beginnings by a PRM's score.

    Examples:
        >>> async def sure(problem_id, prefixes):
        ...     return [1.0] * len(prefixes)
        >>> BeamSearch(scorer=sure, width=2).tree
        'beam'
    """

    width: int = Field(default=4, ge=1, description="branches that go on from a step to the next")
    samples: int | None = Field(
        default=None,
        ge=1,
        description="draws from each that goes on; none for the greedy token and the runner-up",
    )

    @property
    def title(self) -> str:
        """As tables show it."""
        return "beam"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "beam"

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
        live = [] if at is None else [(root, at)]
        while live and not growth.full:
            live = await self._expanded(growth, await self._kept(growth, problem_id, live))
        branches = growth.finished()
        root.greedy = self.samples is None and root.finish != "pruned"
        return branches

    async def _kept(
        self, growth: StepGrowth, problem_id: str, live: list[tuple[Branch, int]]
    ) -> list[tuple[Branch, int]]:
        """The branches that go on, the best first; the others are given up."""
        if len(live) <= self.width:
            return live
        scores = await step_scores(self.scorer, problem_id, live)
        ranked = [live[place] for place in sorted(range(len(live)), key=lambda place: -scores[place])]
        for branch, _ in ranked[self.width :]:
            growth.give_up(branch)
        return ranked[: self.width]

    async def _expanded(self, growth: StepGrowth, kept: list[tuple[Branch, int]]) -> list[tuple[Branch, int]]:
        """The branches after their next step, without those that have ended."""
        live: list[tuple[Branch, int]] = []
        for branch, at in kept:
            for number in range(self.samples or 2):
                child = await growth.child(branch, at, number)
                if child is None:
                    break
                if growth.full:
                    return live
                position = await growth.next_anchor(child, at)
                if position is not None:
                    live.append((child, position))
        return live


Strategy = BeamSearch
