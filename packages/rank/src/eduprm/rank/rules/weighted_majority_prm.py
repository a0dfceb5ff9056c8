"""The answer with the largest sum of the aggregates of its candidates' step scores."""

import polars as pl
from pydantic.dataclasses import dataclass

from eduprm.rank.rules._aggregate import Aggregation, reward_weight
from eduprm.rank.rules._votes import summed_weight


@dataclass(frozen=True)
class Rule:
    """Options: aggregate, min if nothing is said."""

    aggregate: Aggregation = "min"

    label = "majority by PRM"
    needs = ("step_scores",)
    place = 40

    def score(self) -> pl.Expr:
        """The aggregate over the largest of the problem."""
        return reward_weight(self.aggregate)

    def votes(self) -> pl.Expr:
        """The sum of the weights."""
        return summed_weight()
