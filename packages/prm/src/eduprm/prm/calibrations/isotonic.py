"""Isotonic regression (Zadrozny and Elkan, KDD 2002): the rising function of the score nearest to the outcomes.

Fitted by pooling adjacent violators. Our reading, so that no two different scores become equal:

* Between two pooled blocks the function is linear, within a block and beyond the outermost ones it is constant.
* `ORDER` of it is given to a strictly rising function of the score's logit, which moves no score by more than that.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from eduprm.prm.calibrations._contract import logits

__all__ = ["ORDER", "Calibration"]

ORDER = 1e-3

_Share = Annotated[float, Field(ge=0, le=1)]


class Calibration(BaseModel):
    """Knots of a rising function.

    Examples:
        >>> rows = np.array([[0.2, 0], [0.4, 1], [0.6, 0], [0.8, 1]])
        >>> found = Calibration.fit(rows[:, 0], rows[:, 1], np.ones(4))
        >>> found.scores, found.values  # 0.4 and 0.6 are out of order: pooled at 1/2
        ((0.2, 0.4, 0.6, 0.8), (0.0, 0.5, 0.5, 1.0))
        >>> found(np.array([0.5])).tolist()
        [0.5]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[_Share, ...] = Field(min_length=1, description="where the function has a knot, rising")
    values: tuple[_Share, ...] = Field(min_length=1, description="its value there, never falling")

    @model_validator(mode="after")
    def _rising(self) -> Calibration:
        if len(self.scores) != len(self.values):
            raise ValueError(f"expected as many values as scores, {len(self.scores)}, got {len(self.values)}")
        if (np.diff(self.scores) <= 0).any() or (np.diff(self.values) < 0).any():
            raise ValueError("expected scores that rise and values that do not fall")
        return self

    @classmethod
    def fit(cls, scores: np.ndarray, outcomes: np.ndarray, weights: np.ndarray) -> Calibration:
        """Return the function of least weighted squared distance."""
        found, place = np.unique(np.asarray(scores, np.float64), return_inverse=True)
        total = np.bincount(place, weights)
        means = np.bincount(place, weights * outcomes) / total
        blocks: list[tuple[float, float, int, int]] = []  # mean, weight, first and last of `found`
        for number, (mean, weight) in enumerate(zip(means.tolist(), total.tolist(), strict=True)):
            first = number
            while blocks and blocks[-1][0] >= mean:
                above, heavy, first, _ = blocks.pop()
                mean = (above * heavy + mean * weight) / (heavy + weight)
                weight += heavy
            blocks.append((mean, weight, first, number))
        knots = [
            (float(found[end]), min(max(mean, 0.0), 1.0))
            for mean, _, first, last in blocks
            for end in dict.fromkeys((first, last))
        ]
        return cls(scores=tuple(score for score, _ in knots), values=tuple(value for _, value in knots))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return the function's values, with their order."""
        z = logits(scores)
        rank = (1 + z / (1 + np.abs(z))) / 2
        steps = np.interp(scores, self.scores, self.values)
        found: np.ndarray = (1 - ORDER) * steps + ORDER * rank
        return found
