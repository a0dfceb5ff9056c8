"""A calibrated threshold hits its target, and its report shows the distribution behind it."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.entropy import calibrate_threshold

ENTROPIES = st.lists(
    st.lists(st.one_of(st.floats(0, 8), st.sampled_from([0.0, 0.5, 1.0])), max_size=12),
    min_size=1,
    max_size=8,
)


def solutions(num: int = 200, seed: int = 0) -> list[np.ndarray]:
    """Return entropies like a model's: most near 0, a thin tail, lengths that differ."""
    random = np.random.default_rng(seed)
    return [random.exponential(0.4, random.integers(5, 80)).astype(np.float32) for _ in range(num)]


@pytest.mark.parametrize("wanted", [0.1, 1.0, 2.5, 7.0])
def test_hits_its_target_and_carries_over_to_fresh_data(wanted: float) -> None:
    found = calibrate_threshold(solutions(2000), anchors_per_solution=wanted)
    assert found.achieved_anchors == pytest.approx(wanted, abs=0.001)
    fresh = [np.count_nonzero(values > found.threshold_nats) for values in solutions(2000, seed=1)]
    assert np.mean(fresh) == pytest.approx(
        wanted, abs=3 * (2 * wanted / 2000) ** 0.5
    )  # three standard errors


@given(ENTROPIES, st.floats(0.01, 12))
@settings(max_examples=300, deadline=None)
def test_no_other_threshold_comes_nearer(entropies: list[list[float]], wanted: float) -> None:
    pooled = np.sort(np.concatenate([np.asarray(values, dtype=float) for values in entropies]))
    # A wanted total below 1/2 rounds to none: the nearest reachable count is judged on the rounded target.
    total = wanted * len(entropies)
    if len(pooled) == 0 or round(total) > np.count_nonzero(pooled > 0):
        with pytest.raises(ValueError, match="expected at most"):
            calibrate_threshold(entropies, anchors_per_solution=wanted)
        return
    found = calibrate_threshold(entropies, anchors_per_solution=wanted)
    reachable = [np.count_nonzero(pooled > t) for t in (0.0, *pooled)]
    best = min(abs(count - total) for count in reachable)
    assert abs(sum(found.anchors_per_solution) - total) <= best + 1e-9
    assert sum(found.anchors_per_solution) == np.count_nonzero(pooled > found.threshold_nats)
    assert found.threshold_nats >= 0.0


def test_skipped_positions_are_no_anchors() -> None:
    entropies, skip = [[3.0, 1.0, 2.0], [5.0, 0.5]], [[True, False, False], [True, False]]
    found = calibrate_threshold(entropies, anchors_per_solution=1.0, skip=skip)
    assert found.threshold_nats == 0.75  # between 1.0 and 0.5, not between 3.0 and 2.0
    assert found.anchors_per_solution == (2, 0)
    assert (found.num_positions, found.num_eligible, found.num_without_anchor) == (5, 3, 1)


def test_equal_entropies_give_the_nearer_reachable_count() -> None:
    tied = [[2.0] + [1.0] * 4 + [0.5]]
    assert calibrate_threshold(tied, anchors_per_solution=2).anchors_per_solution == (1,)
    assert calibrate_threshold(tied, anchors_per_solution=4).anchors_per_solution == (5,)
    assert calibrate_threshold(tied, anchors_per_solution=3).anchors_per_solution == (1,)


def test_neighbouring_floats_are_told_apart() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2.0))
    found = calibrate_threshold([[low, high]], anchors_per_solution=1)
    assert found.achieved_anchors == 1.0


def test_a_threshold_between_neighbours_tells_them_apart_in_float32() -> None:
    low = np.nextafter(np.float32(1), np.float32(2))
    high = np.nextafter(low, np.float32(2))
    found = calibrate_threshold([np.array([low, high])], anchors_per_solution=1)
    assert low <= np.float32(found.threshold_nats) < high


def test_report_shows_threshold_sweep_quantiles_and_histogram() -> None:
    found = calibrate_threshold(solutions(), anchors_per_solution=3)
    text = found.report(width=30)
    assert f"threshold {found.threshold_nats:.4f} nats: 3.00 anchors per solution (wanted 3.00)" in text
    assert f"{dict(found.sweep)[1.0]:10.3f}" in text
    assert f"{dict(found.quantiles)[0.5]:8.4f}" in text
    assert max(line.count("#") for line in text.splitlines()) == 30
    assert sum(line.startswith(">") for line in text.splitlines()) == 1
    assert sum(found.bin_counts) == found.num_eligible
    assert json.loads(json.dumps(dataclasses.asdict(found)))["wanted_anchors"] == 3.0


def test_sweep_counts_what_it_says() -> None:
    data = solutions()
    found = calibrate_threshold(data, anchors_per_solution=3)
    for threshold, anchors in found.sweep:
        assert anchors == pytest.approx(np.mean([np.count_nonzero(values > threshold) for values in data]))


@pytest.mark.parametrize(
    ("entropies", "skip", "wanted", "message"),
    [
        ([], None, 1, "at least one solution"),
        ([[1.0], [[1.0]]], None, 1, r"1-D entropies, got shape \(1, 1\) in solution 1"),
        ([[1.0], [0.2, float("nan")]], None, 1, "got nan at position 1 of solution 1"),
        ([[-0.5]], None, 1, "got -0.5 at position 0 of solution 0"),
        ([[1.0]], None, 0, "above 0, got 0"),
        ([[1.0, 0.0]], None, 2, "at most 1 anchors per solution"),
        ([[1.0, 2.0]], [[False]], 1, "one mask per solution"),
        ([[1.0, 2.0]], [[True, True]], 0.1, "at most 0 anchors"),
    ],
)
def test_wrong_inputs_are_refused(entropies: list, skip: list | None, wanted: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibrate_threshold(entropies, anchors_per_solution=wanted, skip=skip)
