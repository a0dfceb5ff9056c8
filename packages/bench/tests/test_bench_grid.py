"""Many settings in one call against each by itself; intervals over problems and seeds against a plain bootstrap."""

from __future__ import annotations

import itertools
import random

import numpy as np
import polars as pl
import pytest

from eduprm.bench import equal_tokens
from eduprm.bench.grid import GRID_SCHEMA, OUTCOME_SCHEMA, equal_token_candidates, grid_outcomes
from eduprm.bench.headline import headline
from eduprm.bench.repeats import crossed_intervals, summarise_repeats
from eduprm.rank import choose, paired_difference
from eduprm.rank.bootstrap import mean_intervals

RULES = ["oracle", "majority", "weighted_majority_probability", "mean_logprob", "prm_min", "prm_product"]
PROBLEMS = ["p1", "p2", "p3"]


@pytest.fixture(scope="module")
def candidates() -> pl.DataFrame:
    draw = random.Random(4)
    rows = []
    for (setting, seed), problem in itertools.product(
        [("edu a", None), ("ht 0.7", 0), ("ht 0.7", 1), ("ht 1.3", 0)], PROBLEMS
    ):
        order = list(range(6))
        draw.shuffle(order)
        for leaf in range(6):
            answer = draw.choice(["3", "4", None])
            tree = "edu" if setting == "edu a" else "ht"
            scores = [draw.random() for _ in range(draw.randint(1, 3))]
            rows.append(
                (setting, seed, problem, tree, leaf, answer, answer == "4", -draw.random() * 5,
                 draw.randint(3, 9), scores, order[leaf])
            )  # fmt: skip
    return pl.DataFrame(rows, schema=GRID_SCHEMA, orient="row")


def one(frame: pl.DataFrame, setting: str, seed: int | None) -> pl.DataFrame:
    same = pl.col("seed").is_null() if seed is None else pl.col("seed") == seed
    return frame.filter((pl.col("setting") == setting) & same)


def test_all_settings_at_once_choose_as_each_alone(candidates):
    outcomes = grid_outcomes(candidates, ns=[2, 4], rules=RULES)
    assert outcomes.schema == pl.Schema(OUTCOME_SCHEMA)
    assert outcomes.height == 4 * 3 * 2 * len(RULES)
    for (setting, seed), n in itertools.product([("edu a", None), ("ht 0.7", 1)], (2, 4)):
        alone = choose(one(candidates, setting, seed).drop("setting", "seed"), rules=RULES, n=n)
        mine = one(outcomes, setting, seed).filter(n=n).sort("rule", "problem_id")
        theirs = alone.sort("rule", "problem_id")
        assert mine["correct"].to_list() == theirs["correct"].cast(pl.Float64).to_list()
        assert mine["tied"].to_list() == theirs["tied"].to_list()


@pytest.mark.parametrize("with_greedy", [False, True])
def test_equal_tokens_at_once_are_those_of_each_pair_of_settings(candidates, with_greedy):
    budgets = pl.DataFrame(
        [("edu a", n, p, 10 * n + k) for n in (1, 3) for k, p in enumerate(PROBLEMS)],
        schema={"setting": pl.String, "n": pl.Int32, "problem_id": pl.String, "decoded": pl.Int64},
        orient="row",
    )
    samples = candidates.filter(pl.col("setting").str.starts_with("ht"))
    greedy = one(candidates, "edu a", None).filter(order=0) if with_greedy else None
    kept, spent = equal_token_candidates(samples, budgets, greedy=greedy)
    assert spent.height == 2 * 3 * 3
    for (setting, seed), n in itertools.product([("ht 0.7", 0), ("ht 0.7", 1), ("ht 1.3", 0)], (1, 3)):
        alone, cost = equal_tokens(
            one(samples, setting, seed).drop("setting", "seed"),
            budgets.filter(n=n),
            greedy=None if greedy is None else greedy.drop("setting", "seed"),
            crossing="drop" if with_greedy else "keep",
        )
        mine = one(kept, setting, seed).filter(edu_n=n).sort("problem_id", "order")
        columns = ["problem_id", "leaf", "order", "num_tokens"]
        assert mine.select(columns).rows() == alone.sort("problem_id", "order").select(columns).rows()
        own = one(spent, setting, seed).filter(edu_n=n).sort("problem_id")
        assert own["spent"].to_list() == cost["spent"].to_list()
        assert (own["spent"] >= own["budget"]).all() or with_greedy or own["exhausted"].any()


def test_one_seed_gives_the_bootstrap_over_problems():
    values = np.random.default_rng(0).random((7, 1, 3))
    ids = [f"p{k}" for k in range(7)]
    ours = crossed_intervals(values, ids, seed=5)
    np.testing.assert_allclose(ours, mean_intervals(values[:, 0], ids, seed=5), rtol=1e-12)


def test_crossed_intervals_equal_a_plain_crossed_bootstrap():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(12, 1, 1)) + rng.normal(size=(1, 4, 1)) + rng.normal(size=(12, 4, 1)) / 2
    means = [values[np.ix_(rng.integers(0, 12, 12), rng.integers(0, 4, 4))].mean() for _ in range(20_000)]
    ours = crossed_intervals(values, [f"p{k:02}" for k in range(12)], seed=3, bootstrap=20_000)[0]
    # Two draws of 20,000 resamples: their quantiles differ by some hundredths of the spread.
    np.testing.assert_allclose(ours, np.quantile(means, [0.025, 0.975]), atol=0.04)
    # Seeds that differ make the interval wider than problems alone do.
    alone = mean_intervals(values.mean(axis=1), [f"p{k:02}" for k in range(12)], seed=3)[0]
    assert ours[1] - ours[0] > 1.2 * (alone[1] - alone[0])


def outcomes(rows: list[tuple[str, str, int | None, float]]) -> pl.DataFrame:
    schema = {"method": pl.String, "problem_id": pl.String, "seed": pl.Int64, "correct": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_what_is_not_drawn_stands_for_every_seed():
    rows = [("edu", p, None, float(p != "p1")) for p in PROBLEMS]
    drawn = [("ht", p, s, float((k + s) % 2)) for k, p in enumerate(PROBLEMS) for s in range(4)]
    table = summarise_repeats(outcomes([*rows, *drawn]), by=["method"], seed=0)
    assert table["mean"].to_list() == pytest.approx([2 / 3, 0.5])
    assert table["seeds"].to_list() == [0, 4]
    alone = summarise_repeats(outcomes(rows), by=["method"], seed=0)
    assert alone.row(0)[1:4] == pytest.approx(table.row(0)[1:4])


def test_a_difference_is_the_mean_of_paired_rows():
    a = outcomes([("edu", p, None, v) for p, v in zip(PROBLEMS, (1.0, 1.0, 0.0), strict=True)])
    b = outcomes([("ht", p, 0, v) for p, v in zip(PROBLEMS, (0.0, 1.0, 0.0), strict=True)])
    gap = b.join(a, on="problem_id").with_columns(gap=pl.col("correct_right") - pl.col("correct"))
    table = summarise_repeats(gap, by=["method"], value="gap", seed=2)
    plain = paired_difference(a, b, seed=2)
    assert table.row(0)[1:4] == pytest.approx((plain.difference, plain.ci_low, plain.ci_high))
    assert table.select("wins", "losses").row(0) == (1, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("ht", "p", 0, 1.0), ("ht", "q", 0, 1.0), ("ht", "p", 1, 1.0)], "each of 2 problems once for each of 2"),
        ([("ht", "p", 0, 1.0), ("ht", "p", 0, 1.0)], "once"),
        ([("ht", "p", 0, float("nan"))], "expected a value"),
        ([], "no outcomes"),
    ],
)  # fmt: skip
def test_broken_outcomes_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        summarise_repeats(outcomes(rows), by=["method"], seed=0)


def test_a_headline_row_that_does_not_know_is_refused() -> None:
    greedy = pl.DataFrame({"problem_id": ["a", "b"], "correct": [True, None]})
    with pytest.raises(
        ValueError, match="row 'greedy' to say of every problem whether it is right, got null"
    ):
        headline({"greedy": greedy}, greedy="greedy", seed=0)
