"""Temperature scaling (Guo et al., arXiv 1706.04599): sigmoid(logit(score) / T).

T minimises the cross-entropy with the outcomes. It turns sure scores into less sure ones (T > 1) or the other way, and
leaves 1/2 where it is: a PRM that is wrong on one side only needs `isotonic`.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from eduprm.prm.calibrations._contract import logits

__all__ = ["Calibration"]

_LEAST, _MOST = 0.01, 100.0


class Calibration(BaseModel):
    """One number.

    Examples:
        >>> found = Calibration.fit(np.full(4, 0.9), np.array([1, 1, 1, 0]), np.ones(4))
        >>> round(found.temperature, 6), found(np.array([0.9])).round(6).tolist()  # ln 9 / T = ln 3
        (2.0, [0.75])
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(1.0, ge=_LEAST, le=_MOST, description="what logits are divided by")

    @classmethod
    def fit(cls, scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> Calibration:
        """Return the best temperature between 0.01 and 100.

        The cross-entropy is convex in 1/T; its derivative, sum w (sigmoid(z / T) - y) z, is bisected.
        """
        z = logits(scores)

        def slope(inverse: float) -> float:
            return float(np.sum(weights * (_sigmoid(z * inverse) - outcomes) * z))

        low, high = 1 / _MOST, 1 / _LEAST
        for _ in range(100):
            middle = np.sqrt(low * high)
            low, high = (middle, high) if slope(middle) < 0 else (low, middle)
        return cls(temperature=float(np.clip(1 / np.sqrt(low * high), _LEAST, _MOST)))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return sigmoid(logit / T)."""
        return _sigmoid(logits(scores) / self.temperature)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(z))
    found: np.ndarray = np.where(z >= 0, 1.0, small) / (1.0 + small)
    return found
