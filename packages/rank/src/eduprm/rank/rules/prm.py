"""The candidate with the best aggregate of its step scores (product as a sum of logs)."""

import polars as pl
from pydantic.dataclasses import dataclass

from eduprm.rank.rules._aggregate import Aggregation, aggregate_expr


@dataclass(frozen=True)
class Rule:
    """Options: aggregate, min if nothing is said."""

    aggregate: Aggregation = "min"

    label = "PRM"
    needs = ("step_scores",)
    place = 10

    def score(self) -> pl.Expr:
        """The aggregate; of a product the log."""
        return aggregate_expr(self.aggregate, log=self.aggregate == "product")
