"""The candidate with the best log-prob per token."""

import polars as pl
from pydantic.dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    label = "mean log-prob"
    needs = ("logprob_sum",)
    place = 70

    def score(self) -> pl.Expr:
        """Nats per token."""
        return pl.col("logprob_sum") / pl.col("num_tokens")
