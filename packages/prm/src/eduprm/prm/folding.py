"""A step's score from the log-probs of its tokens: exp of their least, mean or sum.

The one rule for a model in this process (`eduprm.prm.scorers.likelihood`) and for a server that answers with the
log-probs of its input. numpy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from eduprm.prm.config import Aggregate

__all__ = ["SOLUTION_OF_FOLD", "fold_logprobs"]


SOLUTION_OF_FOLD: dict[str, Aggregate] = {"min": "min", "mean": "mean", "sum": "product"}
"""What makes one score of a solution's steps: log-probs of the last step say nothing of those before it."""


def fold_logprobs(
    logprobs: NDArray[np.floating], nodes: NDArray[np.integer], *, count: int, fold: str
) -> NDArray[np.float64]:
    """Return exp of the min, mean or sum over each node's tokens, float64 [count].

    Args:
        logprobs: [n], nats.
        nodes: int [n], the node of each token; every node in 0..count - 1 has one at least.
        count: nodes.
        fold: "min", "mean" or "sum".

    Examples:
        >>> logprobs = np.log([0.5, 0.25, 1.0])
        >>> fold_logprobs(logprobs, np.array([0, 0, 1]), count=2, fold="min").tolist()
        [0.25, 1.0]
        >>> fold_logprobs(logprobs, np.array([0, 0, 1]), count=2, fold="sum").round(12).tolist()
        [0.125, 1.0]
    """
    values = np.asarray(logprobs, np.float64)
    if fold == "min":
        least = np.full(count, np.inf)
        np.minimum.at(least, nodes, values)
        return np.exp(least)
    sums: NDArray[np.float64] = np.bincount(nodes, values, minlength=count).astype(np.float64)
    if fold == "mean":
        sums = sums / np.bincount(nodes, minlength=count)
    return np.exp(sums)
