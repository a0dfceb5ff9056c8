"""AUC against all pairs, calibration against loops, intervals against real resampling."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.bench import (
    auc,
    auc_within,
    brier,
    expected_calibration_error,
    reliability,
    score_metrics,
    smooth_calibration_error,
)
from eduprm.rank.bootstrap import percentile_interval, resample_counts

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=25
)


def all_pairs(scores: list[float], labels: list[bool]) -> float:
    right = [s for s, ok in zip(scores, labels, strict=True) if ok]
    wrong = [s for s, ok in zip(scores, labels, strict=True) if not ok]
    wins = [1.0 if r > w else 0.5 if r == w else 0.0 for r in right for w in wrong]
    return sum(wins) / len(wins) if wins else math.nan


@settings(max_examples=150, deadline=None)
@given(pairs=PAIRS)
def test_auc_is_the_share_of_pairs_won(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = [s for s, _ in pairs], [ok for _, ok in pairs]
    assert auc(scores, labels) == pytest.approx(all_pairs(scores, labels), nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(pairs=PAIRS, num_bins=st.integers(1, 12))
def test_calibration_matches_a_loop(pairs: list[tuple[float, bool]], num_bins: int) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for score, ok in pairs:
        bins.setdefault(max(0, math.ceil(score * num_bins) - 1), []).append((score, ok))
    gap = sum(abs(sum(s for s, _ in rows) - sum(ok for _, ok in rows)) for rows in bins.values()) / len(pairs)
    scores, labels = [s for s, _ in pairs], [ok for _, ok in pairs]
    assert expected_calibration_error(scores, labels, num_bins=num_bins) == pytest.approx(gap)
    got = reliability(scores, labels, num_bins=num_bins)
    assert dict(got.select("bin", "rows").rows()) == {k: len(rows) for k, rows in bins.items()}
    assert brier(scores, labels) == pytest.approx(sum((s - ok) ** 2 for s, ok in pairs) / len(pairs))


def steps(seed: int, num: int = 9) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (f"p{p}", round(float(rng.random()), 1), bool(rng.random() < p / num))
        for p in range(num)
        for _ in range(rng.integers(1, 7))
    ]
    return pl.DataFrame(rows, schema=["problem_id", "score", "gold"], orient="row")


def test_easy_problems_give_a_high_auc_and_none_within() -> None:
    # The score knows which problem is easy and nothing else: useless for choosing.
    rows = [(f"p{p}", p / 10, k < p) for p in range(11) for k in range(10)]
    frame = pl.DataFrame(rows, schema=["problem_id", "score", "gold"], orient="row")
    got = dict(score_metrics(frame, seed=0, bootstrap=100).select("metric", "value").rows())
    assert got["auc"] > 0.8
    assert got["auc_within"] == 0.5


def test_within_leaves_problems_of_one_class_out() -> None:
    frame = steps(1)
    within = auc_within(frame)
    both = [p for (p,), g in frame.group_by(["problem_id"]) if g["gold"].n_unique() == 2]
    assert within["problem_id"].to_list() == sorted(both)
    for problem, value, _ in within.rows():
        own = frame.filter(pl.col("problem_id") == problem)
        assert value == pytest.approx(all_pairs(own["score"].to_list(), own["gold"].to_list()))


def test_intervals_are_those_of_recomputing_on_resampled_problems() -> None:
    frame = steps(2)
    groups = [g for _, g in frame.sort("problem_id").group_by(["problem_id"], maintain_order=True)]
    names = [g["problem_id"][0] for g in groups]
    replicates: dict[str, list[float]] = {
        "auc": [],
        "auc_within": [],
        "brier": [],
        "ece": [],
        "smooth_ece": [],
    }
    for counts in np.concatenate(list(resample_counts(names, seed=7, bootstrap=60))).astype(int):
        copies = [
            group.with_columns(problem_id=pl.lit(f"{k}-{copy}"))
            for k, (group, count) in enumerate(zip(groups, counts, strict=True))
            for copy in range(count)
        ]
        drawn = pl.concat(copies)
        scores, gold = drawn["score"].to_numpy(), drawn["gold"].to_numpy()
        replicates["auc"].append(auc(scores, gold))
        replicates["auc_within"].append(float(np.mean(auc_within(drawn)["auc"].to_numpy())))
        replicates["brier"].append(brier(scores, gold))
        replicates["ece"].append(expected_calibration_error(scores, gold))
        replicates["smooth_ece"].append(smooth_calibration_error(scores, gold))
    for row in score_metrics(frame, seed=7, bootstrap=60).iter_rows(named=True):
        expected = percentile_interval(np.array(replicates[row["metric"]]))
        assert (row["ci_low"], row["ci_high"]) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_row_order_does_not_matter() -> None:
    frame = steps(3)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    one, two = (score_metrics(f, seed=0, bootstrap=50) for f in (frame, shuffled))
    assert one.drop("value", "ci_low", "ci_high").equals(two.drop("value", "ci_low", "ci_high"))
    for column in ("value", "ci_low", "ci_high"):
        assert one[column].to_list() == pytest.approx(two[column].to_list())


def test_one_class_is_nan_not_a_crash() -> None:
    frame = steps(4).with_columns(gold=pl.lit(True))
    got = dict(score_metrics(frame, seed=0, bootstrap=20).select("metric", "value").rows())
    assert math.isnan(got["auc"])
    assert math.isnan(got["auc_within"])
    assert got["brier"] >= 0


def test_broken_scores_are_refused() -> None:
    for labels in ([True, None], ["True", "False"], [2, 0]):
        with pytest.raises(ValueError, match="labels must be true or false in every row"):
            auc([0.1, 0.2], labels)
    with pytest.raises(ValueError, match="scores must not be NaN"):
        auc([float("nan")], [True])
    with pytest.raises(ValueError, match=r"of one length, got \(1,\) and \(2,\)"):
        auc([0.5], [True, False])
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 0.5 to 1.5"):
        reliability([0.5, 1.5], [True, False])
    with pytest.raises(ValueError, match="got none or nulls"):
        score_metrics(steps(1).with_columns(score=pl.lit(None, dtype=pl.Float64)), seed=0)
