"""The threshold under which a step counts as wrong, chosen exactly on one subset.

A step is judged wrong where its score is at most the threshold. Predictions change only at scores that occur, so
all thresholds there are can be tried: one between each pair of neighbouring scores.

Source: the authors' word on ProcessBench (QwenLM/ProcessBench#3): the threshold of a scalar PRM is the one with the
best F1 on the GSM8K subset, and serves all subsets. They do not say which of several equally good ones; here it is the
one nearest to 0.5, of two as near the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Threshold(NamedTuple):
    """A threshold and the F1 that it gives on the rows it was chosen on."""

    value: float
    f1: float


def choose_threshold(scores: Sequence[Sequence[float]], labels: Sequence[int]) -> Threshold:
    """The threshold with the best F1.

    Args:
        scores: per solution, one score in [0, 1] per step.
        labels: per solution, its first wrong step (from 0), -1: none.

    Raises:
        ValueError: no solution with or none without an error (F1 is not defined), or a score outside [0, 1].

    Examples:
        >>> choose_threshold([[0.9, 0.25], [0.8, 0.75], [0.9, 0.1]], [1, -1, 1])
        Threshold(value=0.5, f1=1.0)
    """
    gold = np.asarray(labels)
    wrong = gold >= 0
    if wrong.all() or not wrong.any():
        kind = "without" if wrong.all() else "with"
        raise ValueError(f"a threshold needs solutions with and without errors, got none {kind}")
    low, high = _matching_intervals(scores, gold)
    candidates = _candidates(np.unique(np.concatenate([np.asarray(row, dtype=float) for row in scores])))
    found, kept = (_matching_share(low[mine], high[mine], candidates) for mine in (wrong, ~wrong))
    total, product = found + kept, 2 * found * kept
    f1 = np.divide(product, total, out=np.zeros_like(total), where=total > 0)
    best = candidates[np.isclose(f1, f1.max(), rtol=0, atol=1e-12)]
    distance = np.abs(best - 0.5)
    value = best[np.isclose(distance, distance.min(), rtol=0, atol=1e-12)].min()
    return Threshold(float(value), float(f1.max()))


def _matching_share(low: np.ndarray, high: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of the solutions whose prediction is right under each threshold."""
    begun = np.searchsorted(np.sort(low), thresholds, side="right")
    ended = np.searchsorted(np.sort(high), thresholds, side="right")
    return (begun - ended) / len(low)


def _matching_intervals(
    scores: Sequence[Sequence[float]], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Per solution the thresholds [low, high) under which the prediction is right (empty: low = high)."""
    low, high = np.zeros(len(labels)), np.zeros(len(labels))
    for row, (values, label) in enumerate(zip(scores, labels, strict=True)):
        minima = np.minimum.accumulate(np.asarray(values, dtype=float))
        if not len(minima) or not (minima[-1] >= 0 and np.max(values) <= 1):
            raise ValueError(f"expected scores in [0, 1] for every step, got {list(values)}")
        if label < 0:
            low[row], high[row] = -np.inf, minima[-1]
        else:
            before = minima[label - 1] if label else np.inf
            low[row], high[row] = min(minima[label], before), before
    return low, high


def _candidates(distinct: np.ndarray) -> np.ndarray:
    """One threshold for each way of judging: none wrong, then between neighbouring scores, then all wrong."""
    middle = (distinct[:-1] + distinct[1:]) / 2
    middle = np.where(middle < distinct[1:], middle, distinct[:-1])  # neighbours in floating point
    none = [distinct[0] / 2] if distinct[0] > 0 else []
    return np.concatenate([none, middle, [1.0]])
