"""Intervals: what is drawn, that draws are shared, and that they cover what they should."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.rank import CANDIDATE_SCHEMA, evaluate_methods, evaluate_rules, paired_difference, pass_at
from eduprm.rank.bootstrap import hashed_rng, mean_intervals, resample_counts


def ids(num: int) -> list[str]:
    return [f"p{k:05}" for k in range(num)]


def test_every_resample_draws_as_many_problems_as_there_are() -> None:
    counts = np.concatenate(list(resample_counts(ids(37), seed=1, bootstrap=500)))
    assert counts.shape == (500, 37)
    assert (counts.sum(axis=1) == 37).all()
    # Each count is Binomial(37, 1/37): mean 1, variance 36/37.
    assert abs(counts.var() - 36 / 37) < 0.03


def test_draws_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resample_counts(ids(11), seed=1, bootstrap=100)))
    monkeypatch.setattr("eduprm.rank.bootstrap._CHUNK_CELLS", 40)
    chunks = list(resample_counts(ids(11), seed=1, bootstrap=100))
    assert len(chunks) > 10
    assert np.array_equal(whole, np.concatenate(chunks))


def test_neighbouring_seeds_share_nothing() -> None:
    one, two = (next(resample_counts(ids(30), seed=s, bootstrap=200)) for s in (1, 2))
    shared = {row.tobytes() for row in one} & {row.tobytes() for row in two}
    assert not shared
    assert hashed_rng("a", 12).random() != hashed_rng("a1", 2).random()


def test_an_interval_is_as_wide_as_the_standard_error_says() -> None:
    values = np.random.default_rng(0).normal(size=400)
    ((low, high),) = mean_intervals(values[:, None], ids(400), seed=0, bootstrap=4000)
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    values = (rng.random((60, 400)) < 0.4).astype(float)  # 400 experiments on 60 problems
    covered = [low <= 0.4 <= high for low, high in mean_intervals(values, ids(60), seed=3, bootstrap=1000)]
    assert 0.90 <= np.mean(covered) <= 0.98


def frame_of(values: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"problem_id": ids(len(values)), "correct": values})


@settings(max_examples=40, deadline=None)
@given(gaps=st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=30), shift=st.integers(0, 5))
def test_a_paired_difference_sees_only_the_gaps(gaps: list[float], shift: int) -> None:
    # What both methods share must cancel in every resample, not only on average.
    base = [float((k * 7 + shift) % 5) for k in range(len(gaps))]
    above = frame_of([b + g for b, g in zip(base, gaps, strict=True)])
    got = paired_difference(above.sample(fraction=1, shuffle=True, seed=shift), frame_of(base), seed=4)
    ((low, high),) = mean_intervals(np.array(gaps)[:, None], ids(len(gaps)), seed=4)
    assert (got.ci_low, got.ci_high) == (pytest.approx(low), pytest.approx(high))
    assert (got.wins, got.losses) == (gaps.count(1.0), gaps.count(-1.0))
    mirrored = paired_difference(frame_of(base), above, seed=4)
    assert mirrored.difference == pytest.approx(-got.difference)


def test_a_constant_gap_has_no_width_and_is_separable() -> None:
    noisy = [float(k % 2) for k in range(20)]
    got = paired_difference(frame_of([v + 1 for v in noisy]), frame_of(noisy), seed=0)
    assert (got.ci_low, got.ci_high, got.separable) == (1.0, 1.0, True)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="1 stand in one only, first 'p00002'"):
        paired_difference(frame_of([1, 0, 1]), frame_of([1, 0]), seed=0)
    twice = pl.concat([frame_of([1.0]), frame_of([0.0])])
    with pytest.raises(ValueError, match="stands twice"):
        paired_difference(twice, twice, seed=0)
    with pytest.raises(ValueError, match="none for problem_id='p00000'"):
        paired_difference(pl.DataFrame({"problem_id": ids(1), "correct": [None]}), frame_of([1.0]), seed=0)


def candidates(num: int, per_problem: int) -> pl.DataFrame:
    rng = np.random.default_rng(num)
    rows = [
        (p, "ht", leaf, str(rng.integers(3)), bool(rng.random() < 0.4), -float(rng.random()) - 0.1, 5, None)
        for p in ids(num)
        for leaf in range(1, per_problem + 1)
    ]
    return pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")


def test_accuracy_and_intervals_do_not_depend_on_row_order_or_on_the_other_rules() -> None:
    frame = candidates(25, 4)
    together = evaluate_rules(frame, seed=0)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=9)
    for rule in together["rule"]:
        alone = evaluate_rules(shuffled, rules=[rule], seed=0)
        assert alone.equals(together.filter(pl.col("rule") == rule))
    assert set(together["problems"]) == {25}


def test_n_counts_and_means() -> None:
    frame = candidates(6, 4).filter((pl.col("problem_id") != "p00000") | (pl.col("leaf") == 1))
    assert evaluate_rules(frame, rules=["majority"], n=3, seed=0).select("n", "candidates").row(0) == (
        3,
        16 / 6,
    )
    assert evaluate_rules(frame, rules=["majority"], seed=0).select("n", "candidates").row(0) == (4, 21 / 6)


def test_methods_must_share_their_problems() -> None:
    with pytest.raises(ValueError, match="differ in 'p00002'"):
        evaluate_methods({"a": candidates(3, 2), "b": candidates(2, 2)}, ns=[1], seed=0)


@settings(max_examples=40, deadline=None)
@given(right=st.lists(st.booleans(), min_size=1, max_size=7), n=st.integers(1, 8))
def test_pass_at_counts_draws(right: list[bool], n: int) -> None:
    from itertools import combinations

    rows = [("p", "ht", k, "1", ok, -1.0, 3, None) for k, ok in enumerate(right)]
    frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
    draws = [any(draw) for draw in combinations(right, min(n, len(right)))]
    assert pass_at(frame, n=n, exchangeable=True)["pass_at"].item() == pytest.approx(np.mean(draws))
    assert pass_at(frame, n=n)["pass_at"].item() == float(any(right[:n]))
    oracle = evaluate_rules(frame, rules=["oracle"], n=n, seed=0, bootstrap=10)
    assert oracle["accuracy"].item() == float(any(right[:n]))
