"""Calibrations: fitted as worked out by hand, order kept, remembered by the PRM's folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.prm import ProcessRewardModel
from eduprm.prm.calibration import fit_calibration, read_calibration, uncalibrated, write_calibration
from eduprm.prm.config import Scoring
from eduprm.prm.testing import tiny_prm

KINDS = ("none", "temperature", "isotonic")
_ROWS = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=30)


def test_a_temperature_worked_out_by_hand() -> None:
    # Nine tenths claimed, a tenth right: ln 9 / T = ln(1/9) would need T = -1; the flattest there is stays.
    assert fit_calibration("temperature", [0.9], [0.1]).temperature == pytest.approx(100.0)
    # sigmoid(ln 9 / T) = 3/4 = sigmoid(ln 3), on both sides.
    found = fit_calibration("temperature", [0.9, 0.1], [0.75, 0.25])
    assert found.temperature == pytest.approx(2.0)
    assert found(np.array([0.9, 0.1, 0.5])) == pytest.approx([0.75, 0.25, 0.5])


def test_weights_count_as_rows_do() -> None:
    rows = np.array([[0.2, 0], [0.6, 1], [0.6, 0], [0.7, 0], [0.9, 1], [0.9, 1]])
    heavy = np.array([[0.2, 0, 1], [0.6, 0.5, 2], [0.7, 0, 1], [0.9, 1, 2]])
    for kind in KINDS:
        one = fit_calibration(kind, rows[:, 0], rows[:, 1]).model_dump()
        other = fit_calibration(kind, heavy[:, 0], heavy[:, 1], heavy[:, 2]).model_dump()
        assert {k: pytest.approx(v) for k, v in one.items()} == other


def test_isotonic_is_the_nearest_rising_function() -> None:
    found = fit_calibration("isotonic", [0.1, 0.3, 0.5, 0.5, 0.9], [1, 0, 0, 1, 1])
    # 1, 0, 1/2 of weights 1, 1, 2: pooled at 1/2; then 1.
    assert found.scores == (0.1, 0.5, 0.9)
    assert found.values == (0.5, 0.5, 1.0)
    rng = np.random.default_rng(0)
    scores, right = rng.random(12), rng.integers(0, 2, 12)
    best = np.interp(scores, *(lambda c: (c.scores, c.values))(fit_calibration("isotonic", scores, right)))
    for _ in range(500):
        other = np.interp(scores, np.linspace(0, 1, 6), np.sort(rng.random(6)))
        assert ((best - right) ** 2).sum() <= ((other - right) ** 2).sum()


@settings(max_examples=200, deadline=None)
@given(
    rows=_ROWS,
    asked=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20),
    kind=st.sampled_from(KINDS),
)
def test_the_order_of_scores_is_kept_and_they_stay_scores(rows, asked, kind) -> None:
    found = fit_calibration(kind, *np.array(rows, dtype=np.float64).T)
    scores = np.sort(np.array(asked, dtype=np.float64))
    new = found(scores)
    assert ((new >= 0) & (new <= 1)).all()
    differ = np.diff(scores) > 0
    if kind == "temperature":  # at T = 100 or .01 the ends of [0, 1] lie closer than float64 tells apart
        assert (np.diff(new) >= 0).all()
    else:
        assert (np.diff(new)[differ] > 0).all()
    assert (np.diff(new)[~differ] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_best_of_n_by_one_score_is_the_same(kind) -> None:
    rng = np.random.default_rng(1)
    scores = np.exp(-rng.exponential(3, (200, 8, 5)))  # 200 problems, 8 solutions, 5 steps
    right = rng.random(scores.shape) < scores**2
    found = fit_calibration(kind, scores.ravel(), right.ravel())
    for fold in (lambda x: x.min(-1), lambda x: x[..., -1]):
        assert (fold(found(scores)).argmax(1) == fold(scores).argmax(1)).all()
    if kind != "none":
        assert ((found(scores) - right) ** 2).mean() < ((scores - right) ** 2).mean()


def test_the_folder_remembers_it(tmp_path) -> None:
    folder = tiny_prm(tmp_path / "m")
    plain = ProcessRewardModel.from_pretrained(folder).score("2*3?", ["2*3 = 6\n", "#### 6"])
    found = fit_calibration("isotonic", [0.1, 0.6, 0.9], [0, 0.25, 1])
    write_calibration(folder, "isotonic", found, notes={"problems": 3})
    assert json.loads((folder / "config.json").read_text())["eduprm"]["calibration"]["on"] == {"problems": 3}
    prm = ProcessRewardModel.from_pretrained(folder)
    assert prm.calibration == found
    assert prm.score("2*3?", ["2*3 = 6\n", "#### 6"]) == found(np.array(plain)).tolist() != plain
    assert uncalibrated(prm).score("2*3?", ["2*3 = 6\n", "#### 6"]) == plain
    assert (
        ProcessRewardModel.from_pretrained(folder, scoring=Scoring()).score("2*3?", ["2*3 = 6\n", "#### 6"])
        == plain
    )


def test_what_cannot_be_read_or_fitted_is_said(tmp_path) -> None:
    assert read_calibration(None).model_dump() == read_calibration({"scoring": {}}).model_dump() == {}
    with pytest.raises(ValueError, match="expected one of isotonic, none, temperature"):
        read_calibration({"calibration": {"kind": "platt"}})
    with pytest.raises(ValueError, match="values that do not fall"):
        read_calibration(
            {"calibration": {"kind": "isotonic", "fitted": {"scores": [0, 1], "values": [1, 0]}}}
        )
    for scores, outcomes in (([], []), ([0.5], [1, 0]), ([1.5], [1])):
        with pytest.raises(ValueError, match="expected scores"):
            fit_calibration("temperature", scores, outcomes)
