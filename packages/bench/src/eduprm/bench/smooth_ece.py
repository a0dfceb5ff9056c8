"""Smooth calibration error (Blasiok and Nakkiran, arXiv 2309.12236): ECE without bins.

Scores f with outcomes y, smoothed by a Gaussian kernel of width s that is reflected at 0 and 1:

    smECE_s = integral over t in [0, 1] of |mean of K_s(t, f) (y - f)|,

and smECE is the s at which smECE_s = s. The reflected kernel multiplies the k-th cosine coefficient by
exp(-(pi k s)^2 / 2), so all is done on a grid of `GRID` cells by two matrix products, for many weights of the rows at
once (resamples). A row counts at the middle of its cell: figures are exact to about 1 / GRID.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["GRID", "residual_mass", "smooth_calibration_error", "smooth_errors"]

GRID = 256
_HALVINGS = 30  # to 1e-9


def smooth_calibration_error(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The smooth ECE of scores [rows] in [0, 1] with labels 0 or 1; NaN without rows.

    Examples:
        >>> round(smooth_calibration_error([0.75, 0.75], [True, False]), 3)
        0.25
        >>> round(smooth_calibration_error([0.5, 0.5], [True, False]), 3)
        0.0
    """
    values, right = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if not len(values):
        return float("nan")
    owner = np.zeros(len(values), dtype=np.int64)
    return float(smooth_errors(residual_mass(values, right, owner) / len(values))[0])


def residual_mass(values: np.ndarray, right: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Sums of y - f per owner and cell of the grid, float64 [owners, GRID]; `owner` [rows] counts from 0."""
    cells = np.clip((values * GRID).astype(np.int64), 0, GRID - 1)
    count = int(owner.max()) + 1
    flat = np.bincount(owner * GRID + cells, right - values, minlength=count * GRID)
    return flat.reshape(count, GRID)


def smooth_errors(mass: np.ndarray) -> np.ndarray:
    """The smooth ECE of each row of mean residuals [n, GRID]: the width at which error and width are equal."""
    basis, rates = _cosines()
    coefficients = mass @ basis.T
    low, high = np.zeros(len(mass)), np.ones(len(mass))
    for _ in range(_HALVINGS):
        width = (low + high) / 2
        kept = coefficients * np.exp(-np.square(width)[:, None] * rates)
        kept[:, 1:] *= 2
        above = np.abs(kept @ basis).mean(axis=1) > width
        low, high = np.where(above, width, low), np.where(above, high, width)
    found: np.ndarray = (low + high) / 2
    return found


@cache
def _cosines() -> tuple[np.ndarray, np.ndarray]:
    """cos(pi k t) at the cells' middles [k, cells], and (pi k)^2 / 2."""
    k = np.arange(GRID)
    middles = (k + 0.5) / GRID
    return np.cos(np.pi * np.outer(k, middles)), (np.pi * k) ** 2 / 2
