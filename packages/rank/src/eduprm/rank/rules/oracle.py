"""A right candidate if there is one: it reads the gold answers, so it bounds every rule that does not."""

import polars as pl
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    label = "oracle (any right)"
    needs = ("correct",)
    place = 1000

    def score(self) -> pl.Expr:
        """1 for a right candidate."""
        return pl.col("correct").cast(pl.Float64)
