"""Weigh the labels of a forest by question: how much one question counts beside another.

Within a question the weights keep their proportions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from eduprm.core import registry

__all__ = ["WEIGHTS", "scaled", "weigh_questions"]

WEIGHTS = "eduprm.label.weights"

_LARGEST = 1e30  # labels become float32 in training, where sums of larger ones are infinite


def weigh_questions(
    labelled: pl.DataFrame,
    graded: pl.DataFrame,
    *,
    weights: str = "one",
    options: Mapping[str, Any] | None = None,
) -> pl.DataFrame:
    """Return a labelled forest whose columns `weight` and `scale` (1 where there is none) take its question's weight.

    Args:
        labelled: `label_forest`'s.
        graded: problem_id, answer, correct of every leaf of its trees.
        weights: a module of `eduprm.label.weights`, or "package.module:Weights".
        options: of these.

    Raises:
        ValueError: no such weights or option; a question without a weight, or one that is negative or above 1e30.

    Examples:
        >>> trees = pl.DataFrame({"problem_id": ["a", "b"], "weight": [2.0, 2.0]})
        >>> leaves = pl.DataFrame({"problem_id": ["a", "a", "b"], "answer": ["1", "2", "3"], "correct": True})
        >>> weigh_questions(trees, leaves, weights="east")["weight"].to_list()  # one bit, and none
        [2.0, 0.0]
    """
    found = registry.make(WEIGHTS, weights, "Weights", options).of(graded)
    factors = labelled.select("problem_id").join(
        found.select("problem_id", factor=pl.col("weight").cast(pl.Float64)),
        on="problem_id",
        how="left",
        maintain_order="left",
    )
    wrong = factors.filter(~pl.col("factor").is_between(0, _LARGEST).fill_null(False))
    if wrong.height:
        problem, factor = wrong.row(0)
        raise ValueError(
            f"weights {weights}: expected a number from 0 to {_LARGEST:g} for question {problem!r}, got {factor}"
        )
    # What float32 would take for 0 is 0: the question is left out, and said to be.
    return scaled(
        labelled,
        factors.select(pl.when(pl.col("factor") * _LARGEST >= 1).then("factor").otherwise(0.0)).to_series(),
    )


def scaled(labelled: pl.DataFrame, factors: pl.Series) -> pl.DataFrame:
    """Multiply `weight`, which losses at steps read, and `scale`, which those at tokens and forks read, by a factor.

    Within a question `weight` also says how many solutions pass through a node; `scale` alone says how much of a node
    counts at all.
    """
    scale = pl.col("scale") if "scale" in labelled.columns else pl.lit(1.0)
    return labelled.with_columns(pl.col("weight") * factors, scale=scale * factors)
