"""What the experiment compares, against plain loops over hand-made candidates."""

from __future__ import annotations

import itertools
import random

import polars as pl
import pytest

from eduprm.bench.grid import GRID_SCHEMA
from eduprm.pipeline.sampling.candidates import TOKEN_SCHEMA
from eduprm.pipeline.sampling.compare import Comparison, compare

PROBLEMS = [f"p{number}" for number in range(6)]
FAMILIES = {"greedy": "greedy", "EDU 1": "EDU", "samples T=0.7": "samples", "samples T=1": "samples"}
NS = (1, 2, 4)


def hand_made(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Candidates, tokens and distinct tokens of one tree, one greedy solution and two temperatures of two draws."""
    rng = random.Random(seed)
    candidates, tokens, distinct = [], [], []
    for problem, (name, family) in itertools.product(PROBLEMS, FAMILIES.items()):
        for draw in (0, 1) if family == "samples" else (None,):
            for order in range(1 if family == "greedy" else 4):
                scores = [rng.random() for _ in range(rng.randrange(1, 4))]
                size, right = rng.randrange(1, 9), rng.random() < 0.5
                candidates.append(
                    (
                        name,
                        draw,
                        problem,
                        name,
                        order,
                        str(rng.randrange(3)),
                        right,
                        -rng.random(),
                        size,
                        scores,
                        order,
                    )
                )
                if family == "samples":
                    distinct.append((name, draw, problem, order, rng.randrange(size + 1)))
            spent = 0
            for n in NS:
                spent += rng.randrange(1, 12)
                tokens.append((name, draw, n, problem, n, spent, spent, spent, 1.0))
    schema = {"setting": pl.String, "seed": pl.Int64, "problem_id": pl.String, "order": pl.Int32}
    return (
        pl.DataFrame(candidates, schema=GRID_SCHEMA, orient="row"),
        pl.DataFrame(tokens, schema=TOKEN_SCHEMA, orient="row"),
        pl.DataFrame(distinct, schema={**schema, "num_tokens": pl.Int64}, orient="row"),
    )


def compared(
    plain: pl.DataFrame,
    scored: dict[str, pl.DataFrame],
    tokens: pl.DataFrame,
    distinct: pl.DataFrame,
    **how: str,
) -> Comparison:
    return compare(
        plain, scored, tokens, distinct, headline="edu", families=FAMILIES, ns=NS, seed=0, bootstrap=20, **how
    )


def chosen(rows: list[dict], rule: str) -> float:
    """Whether the rule's choice is right; values differ, so that nothing is tied."""
    if rule == "oracle":
        return float(any(row["correct"] for row in rows))
    by = {
        "mean_logprob": lambda row: row["logprob_sum"] / row["num_tokens"],
        "prm_min": lambda row: min(row["step_scores"]),
    }[rule]
    return float(max(rows, key=by)["correct"])


def affordable(rows: list[dict], budget: int, sizes: list[int], greedy: dict | None) -> list[dict]:
    """Samples alone: up to the one that crosses the budget; behind the greedy solution: those before it."""
    if greedy is None:
        return [
            row
            for row, before in zip(rows, itertools.accumulate([0, *sizes]), strict=False)
            if before < budget
        ]
    after = itertools.accumulate(sizes, initial=greedy["num_tokens"])
    next(after)
    return [greedy, *(row for row, end in zip(rows, after, strict=True) if end <= budget)]


@pytest.mark.parametrize("seed", range(3))
def test_every_difference_is_that_of_plain_loops(seed):
    plain, tokens, distinct = hand_made(seed)
    result = compared(plain, {"edu": plain}, tokens, distinct)

    def rows(setting, draw, problem):
        own = plain.filter(pl.col("seed").eq_missing(draw), setting=setting, problem_id=problem)
        return own.sort("order").to_dicts()

    checked = 0
    for prm, rule in (("", "oracle"), ("", "mean_logprob"), ("edu", "prm_min")):
        for against, n, comparison in itertools.product(
            ("samples T=0.7", "samples T=1"),
            NS,
            ("equal n", "samples, =tokens", "samples, =distinct tokens", "greedy + samples, =tokens"),
        ):
            gaps = []
            for problem, draw in itertools.product(PROBLEMS, (0, 1)):
                theirs = rows(against, draw, problem)
                budget = tokens.filter(setting="EDU 1", problem_id=problem, n=n)["decoded"].item()
                sizes = [row["num_tokens"] for row in theirs]
                if "distinct" in comparison:
                    own = distinct.filter(setting=against, seed=draw, problem_id=problem).sort("order")
                    # Even a solution drawn before costs a token.
                    sizes = [max(size, 1) for size in own["num_tokens"]]
                    theirs = [{**row, "num_tokens": size} for row, size in zip(theirs, sizes, strict=True)]
                greedy = rows("greedy", None, problem)[0] if comparison.startswith("greedy") else None
                kept = theirs[:n] if comparison == "equal n" else affordable(theirs, budget, sizes, greedy)
                gaps.append(chosen(rows("EDU 1", None, problem)[:n], rule) - chosen(kept, rule))
            found = result.differences.filter(
                comparison=comparison, prm=prm, setting="EDU 1", against=against, n=n, rule=rule
            )
            assert found["mean"].item() == pytest.approx(sum(gaps) / len(gaps)), (
                prm,
                rule,
                against,
                n,
                comparison,
            )
            checked += 1
    assert checked == 3 * 2 * 3 * 4


def test_points_are_means_over_problems_and_draws_and_greedy_is_one_solution():
    plain, tokens, distinct = hand_made(7)
    result = compared(plain, {"edu": plain}, tokens, distinct)
    greedy = result.points.filter(setting="greedy")
    assert greedy["n"].unique().to_list() == [1]
    assert greedy.filter(rule="oracle")["mean"].item() == pytest.approx(
        plain.filter(setting="greedy")["correct"].mean()
    )
    for setting, n in itertools.product(("EDU 1", "samples T=0.7"), NS):
        first = plain.filter(pl.col("order") < n, setting=setting)
        right = first.group_by("seed", "problem_id").agg(pl.col("correct").any())["correct"].mean()
        own = result.points.filter(setting=setting, n=n, rule="oracle", prm="")
        assert own["mean"].item() == pytest.approx(right)
        assert own["decoded"].item() == pytest.approx(tokens.filter(setting=setting, n=n)["decoded"].mean())


def test_prms_are_compared_on_the_same_solutions_and_draws():
    plain, tokens, distinct = hand_made(3)
    turned = plain.with_columns(pl.col("step_scores").list.eval(1 - pl.element()))
    result = compared(plain, {"edu": plain, "other": turned}, tokens, distinct)
    own = result.differences.filter(comparison="PRMs", rule="prm_min")
    assert set(own["against"]) == {"other"}
    for setting, n in itertools.product(("EDU 1", "samples T=1"), NS):
        gaps = []
        for _, rows in plain.filter(setting=setting).group_by("problem_id", "seed", maintain_order=True):
            first = rows.sort("order").to_dicts()[:n]
            lowest = min(first, key=lambda row: max(row["step_scores"]))  # the least of 1 - score, largest
            gaps.append(chosen(first, "prm_min") - float(lowest["correct"]))
        found = own.filter(setting=setting, n=n)
        assert found["mean"].item() == pytest.approx(sum(gaps) / len(gaps))


def test_rules_by_the_last_step_stand_only_where_it_speaks_of_the_whole_solution():
    plain, tokens, distinct = hand_made(5)
    whole, by_least = (
        compared(plain, {"edu": plain}, tokens, distinct, solution=solution) for solution in ("last", "min")
    )
    for all_rules, fewer in ((whole.points, by_least.points), (whole.differences, by_least.differences)):
        last = pl.col("rule").str.contains("_last")
        assert all_rules.filter(last).height
        assert fewer.equals(all_rules.filter(~last))
