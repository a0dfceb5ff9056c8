"""The answer with most candidates."""

import polars as pl
from pydantic.dataclasses import dataclass

from eduprm.rank.rules._votes import summed_weight


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    label = "majority, plain"
    needs = ()
    place = 20

    def score(self) -> pl.Expr:
        """One vote each."""
        return pl.lit(1.0)

    def votes(self) -> pl.Expr:
        """How many votes."""
        return summed_weight()
