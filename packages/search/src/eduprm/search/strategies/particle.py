"""Particle filtering over steps (arXiv 2502.01618), as its_hub has it, with the steps that EDU sampling forks.

Particles are drawn from the policy, each to the end of its next step; then as many are drawn anew among them, with
replacement, by a softmax over the logits of the PRM's latest scores. This goes on until every particle has ended. One
that has ended keeps its score and takes part in the draws, as in its_hub.
Our reading:

* A step ends at an anchor behind the first token: before that there is nothing to score. `resample_temperature`
  divides the logits: 1 is its_hub's, large values draw evenly. Scores are clipped to 1e-7 from 0 and 1; what is no
  number counts as 0.
* Of the copies of a particle the first goes on with the tokens already drawn, the others draw anew from its step's end.
  A particle under way that is not drawn is given up (finish "pruned").
* Copies of a particle that has ended are one solution of the tree. One that is not drawn any more stays a solution: it
  has an answer and its tokens are paid for.
* Draws hash (seed, problem, round, place), so they do not depend on other problems. The greedy path is not sought.
* `max_leaves` caps the solutions, `particles` those on their way; without budget for another copy there are fewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from eduprm.core.seeds import derive_seed
from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.step_growth import StepGrowth, step_scores
from eduprm.search.strategies._options import GuidedOptions


class ParticleFilter(GuidedOptions):
    """Samples that a PRM multiplies or ends at each step.

    Examples:
        >>> async def sure(problem_id, prefixes):
        ...     return [1.0] * len(prefixes)
        >>> ParticleFilter(scorer=sure, particles=4).tree
        'particle'
    """

    never_greedy: ClassVar[bool] = True

    particles: int = Field(default=8, ge=1, description="paths on their way at once")
    resample_temperature: float = Field(
        default=1.0, gt=0.0, description="of the softmax over the scores' logits that particles are drawn by"
    )
    temperature: float = Field(default=0.8, gt=0.0, description="of the softmax the tokens are drawn from")

    @property
    def title(self) -> str:
        """As tables show it."""
        return "particles"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "particle"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Solutions in the order in which they ended, then the branches that were given up."""
        growth = StepGrowth(
            prompt_ids, problem_id, engine, tokenizer, cut=self.cut, budget=self.budget,
            piece_tokens=self.piece_tokens, temperature=self.temperature, seed=self.seed,
        )  # fmt: skip
        population: list[_Particle] = []
        while len(population) < self.particles and growth.may_start():
            population.append(_Particle(await growth.start()))
        number = 0
        while await self._stepped(growth, problem_id, population):
            places = self._drawn(problem_id, number, [one.score for one in population])
            population = await _copied(growth, population, places)
            number += 1
        return growth.finished()

    async def _stepped(self, growth: StepGrowth, problem_id: str, population: list[_Particle]) -> bool:
        """Take all particles under way through their next step and score them; whether any is still under way."""
        moving = [one for one in population if one.at is not None]
        for one in moving:
            assert one.at is not None
            one.at = await growth.next_anchor(one.branch, one.at)
            if growth.full:
                return False
        stands = [(one.branch, one.branch.stop if one.at is None else one.at) for one in moving]
        if not any(one.at is not None for one in moving):
            return False
        for one, score in zip(moving, await step_scores(self.scorer, problem_id, stands), strict=True):
            one.score = score
        return True

    def _drawn(self, problem_id: str, number: int, scores: list[float]) -> list[int]:
        """Places in the population of those that go on, as many as `particles`."""
        clipped = np.clip(np.array(scores, np.float64), 1e-7, 1 - 1e-7)
        logits = (np.log(clipped) - np.log1p(-clipped)) / self.resample_temperature
        bounds = np.cumsum(np.exp(logits - logits.max()))
        numbers = [
            derive_seed(self.seed, problem_id, "resample", number, place) for place in range(self.particles)
        ]
        # 63-bit numbers as shares of the whole; the last bound is beyond every share of it.
        shares = np.array(numbers, np.float64) / 2.0**63 * bounds[-1]
        places = np.searchsorted(bounds, shares, side="right")
        return np.minimum(places, len(scores) - 1).tolist()


Strategy = ParticleFilter


@dataclass(slots=True, eq=False)
class _Particle:
    """A path on its way: the anchor at which it stands (0 before its first step, None when ended), latest score."""

    branch: Branch
    at: int | None = 0
    score: float = 0.0


async def _copied(growth: StepGrowth, population: list[_Particle], places: list[int]) -> list[_Particle]:
    """The particles drawn, in the order of the draws; those under way that were not drawn are given up."""
    for place, one in enumerate(population):
        if one.at is not None and place not in places:
            growth.give_up(one.branch)
    following: list[_Particle] = []
    for turn, place in enumerate(places):
        one = population[place]
        number = places[:turn].count(place)
        if one.at is None:
            # Copies of what has ended stay one branch, and weigh as many times in the next draw.
            following.append(_Particle(one.branch, None, one.score))
        elif (branch := await growth.child(one.branch, one.at, number)) is not None:
            following.append(_Particle(branch, one.at, one.score))
    return following
