"""Smooth ECE: cases with a closed form, the definition integrated numerically, and its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.bench import smooth_calibration_error
from eduprm.bench.smooth_ece import GRID


def by_definition(scores: np.ndarray, right: np.ndarray) -> float:
    """Images of the Gaussian beyond 0 and 1 summed, the integral on 2,000 points, the fixed point by bisection."""
    t = (np.arange(2000) + 0.5) / 2000

    def error(width: float) -> float:
        images = np.concatenate([2 * k + sign * scores for k in range(-4, 5) for sign in (1, -1)])
        kernel = np.exp(-((t[:, None] - images) ** 2) / (2 * width**2)) / (width * np.sqrt(2 * np.pi))
        return float(np.abs(kernel @ np.tile(right - scores, 18)).mean() / len(scores))

    low, high = 1e-3, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return low


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_one_score_is_off_by_its_distance_from_the_share(share) -> None:
    right = np.arange(8) < 8 * share
    assert smooth_calibration_error(np.full(8, 0.6), right) == pytest.approx(abs(0.6 - share), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_the_definition_says(seed) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.5, 0.5, 60)
    right = (rng.random(60) < scores**2).astype(float)
    assert smooth_calibration_error(scores, right) == pytest.approx(by_definition(scores, right), abs=2e-3)


def test_it_does_not_jump_where_bins_do() -> None:
    # ECE of .5 and .500001, one right and one wrong, is 0 in one bin and 1/2 in two.
    assert smooth_calibration_error([0.4999, 0.5001], [1, 0]) < 0.06


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=20))
def test_it_lies_between_the_mean_gap_and_the_mean_distance(rows) -> None:
    scores, right = np.array(rows, dtype=np.float64).T
    found = smooth_calibration_error(scores, right)
    assert abs((right - scores).mean()) - 1e-6 <= found <= np.abs(right - scores).mean() + 1 / GRID
