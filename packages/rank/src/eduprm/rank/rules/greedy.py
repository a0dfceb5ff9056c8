"""The solution of greedy decoding."""

import polars as pl
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    label = "greedy"
    needs = ("is_greedy",)
    place = 80

    def score(self) -> pl.Expr:
        """1 for the greedy solution."""
        return pl.col("is_greedy")
