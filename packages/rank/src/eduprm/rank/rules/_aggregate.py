"""Fold the scores of a candidate's steps to one number, and weights that do not underflow."""

from typing import Literal, get_args

import polars as pl

Aggregation = Literal["min", "last", "product", "mean"]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


def aggregate_expr(aggregation: str, *, log: bool = False) -> pl.Expr:
    """Expression that folds ``step_scores`` (probabilities) to one number per candidate.

    With ``log`` the logarithm of it; ``product`` is always a sum of logs underneath: rules that use the
    log can tell 400 steps of 0.1 from 401. A score of 0 gives a log of minus infinity, which ranks last.

    Raises:
        ValueError: no such aggregation; the message lists them.

    Examples:
        >>> frame = pl.DataFrame({"step_scores": [[0.5, 0.25, 1.0]]})
        >>> [round(frame.select(aggregate_expr(a)).item(), 3) for a in AGGREGATIONS]
        [0.25, 1.0, 0.125, 0.583]
    """
    scores = pl.col("step_scores")
    if aggregation == "product":
        total = scores.list.eval(pl.element().log()).list.sum()
        return total if log else total.exp()
    folds = {"min": scores.list.min(), "last": scores.list.last(), "mean": scores.list.mean()}
    if aggregation not in folds:
        raise ValueError(f"aggregation must be one of {', '.join(AGGREGATIONS)}; got {aggregation!r}")
    return folds[aggregation].log() if log else folds[aggregation]


def relative_weight(log_weight: pl.Expr) -> pl.Expr:
    """Weights over the heaviest of the problem: votes need ratios only, and those do not underflow."""
    top = log_weight.max().over("problem_id")
    return pl.when(top.is_infinite()).then(0.0).otherwise((log_weight - top).exp())


def reward_weight(aggregation: str) -> pl.Expr:
    """The aggregate of the step scores over the largest of the problem."""
    return relative_weight(aggregate_expr(aggregation, log=True))
