"""The answer with most probability: candidates weighted by exp(logprob_sum).

For trees, whose forced branches are no samples; independent samples were drawn by that probability already.
"""

import polars as pl
from pydantic.dataclasses import dataclass

from eduprm.rank.rules._aggregate import relative_weight
from eduprm.rank.rules._votes import summed_weight


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    label = "majority by probability"
    needs = ("logprob_sum",)
    place = 30

    def score(self) -> pl.Expr:
        """The probability over the largest of the problem."""
        return relative_weight(pl.col("logprob_sum"))

    def votes(self) -> pl.Expr:
        """The answer's probability, up to a factor of the problem."""
        return summed_weight()
