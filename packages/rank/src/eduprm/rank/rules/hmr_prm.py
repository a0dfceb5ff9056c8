"""HMR (hybrid majority reward): the majority where it is clear, the PRM where it is not.

Clear means: one answer alone has the most votes, and they are more than a share of all votes. Otherwise the answer of
the best candidate wins. So 0 is the plain majority with ties left to the PRM, and 1 is always the PRM's choice among
the candidates with an answer.

Source: arXiv 2508.01773 names it; the rule is not published, so this one is our choice.
"""

from typing import Annotated

import polars as pl
from pydantic import Field
from pydantic.dataclasses import dataclass

from eduprm.rank.rules._aggregate import Aggregation, reward_weight
from eduprm.rank.rules._votes import best_weight, frequency, opens_answer


@dataclass(frozen=True)
class Rule:
    """Options: aggregate (min if nothing is said) and share in [0, 1] (0.5: clear is when more than half agree)."""

    aggregate: Aggregation = "min"
    share: Annotated[float, Field(ge=0, le=1)] = 0.5

    label = "HMR by PRM"
    needs = ("step_scores",)
    place = 60

    def score(self) -> pl.Expr:
        """The aggregate over the largest of the problem."""
        return reward_weight(self.aggregate)

    def votes(self) -> pl.Expr:
        """The frequency where the majority is clear, else the reward of the best candidate."""
        top = frequency().max().over("problem_id")
        num_top = (opens_answer() & (frequency() == top)).sum().over("problem_id")
        clear = (num_top == 1) & (top > self.share)
        return pl.when(clear).then(frequency()).otherwise(best_weight())
