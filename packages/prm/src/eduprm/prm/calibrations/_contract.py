"""What a calibration is."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np

__all__ = ["ScoreCalibration", "logits"]


class ScoreCalibration(Protocol):
    """A frozen pydantic model called `Calibration`; its fields are what was fitted, and stand in the PRM's config.

    It keeps the order of scores strictly, so that no rule by one score of a solution (least, last) chooses otherwise.
    """

    @classmethod
    def fit(cls, scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> Self:
        """Fit to outcomes in [0, 1] of steps with scores in [0, 1]; float64 [n] each, n > 0, weights above 0."""
        ...

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated scores in [0, 1], of the same shape; NaN stays NaN."""
        ...

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """Return what was fitted, as JSON takes it with mode "json"."""
        ...


def logits(scores: np.ndarray) -> np.ndarray:
    """Return ln(s / (1 - s)), finite also for scores of 0 and 1.

    Examples:
        >>> logits(np.array([0.5, 0.9])).round(4).tolist()
        [0.0, 2.1972]
    """
    inside = np.clip(np.asarray(scores, np.float64), 1e-300, 1 - 2**-53)
    found: np.ndarray = np.log(inside) - np.log1p(-inside)
    return found
