"""WRF (weighted reward frequency): w times an answer's normalised reward plus 1 - w times its frequency.

The reward of an answer is that of its best candidate; normalised, it is divided by the sum over the problem's
answers, as a frequency is by the number of candidates: both add up to 1 and stand on one scale. So w = 0 is the plain
majority and w = 1 the PRM's best candidate that has an answer. Rewards that are all 0 say nothing.

Source: arXiv 2508.01773, which publishes the formula but not how rewards are normalised, so that is our choice.
"""

from typing import Annotated

import polars as pl
from pydantic import Field
from pydantic.dataclasses import dataclass

from eduprm.rank.rules._aggregate import Aggregation, reward_weight
from eduprm.rank.rules._votes import best_weight, frequency, opens_answer


@dataclass(frozen=True)
class Rule:
    """Options: aggregate (min if nothing is said) and weight, w in [0, 1] (0.5: reward and frequency weigh alike)."""

    aggregate: Aggregation = "min"
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5

    label = "WRF by PRM"
    needs = ("step_scores",)
    place = 50

    def score(self) -> pl.Expr:
        """The aggregate over the largest of the problem."""
        return reward_weight(self.aggregate)

    def votes(self) -> pl.Expr:
        """The mixture of reward and frequency."""
        total = pl.when(opens_answer()).then(best_weight()).otherwise(0.0).sum().over("problem_id")
        normalised = pl.when(total > 0).then(best_weight() / total).otherwise(0.0)
        return self.weight * normalised + (1.0 - self.weight) * frequency()
