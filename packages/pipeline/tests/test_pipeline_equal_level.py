"""What a strategy gives on another's tokens, worked out by hand for two trees of one problem."""

from __future__ import annotations

import polars as pl
import pytest

from eduprm.bench import token_cost
from eduprm.forest import FOUND_COLUMNS, NODE_SCHEMA, found_leaves, leaf_paths
from eduprm.pipeline.equal_level import Level, added_tokens, mean_decoded, over_lines
from eduprm.pipeline.judge import Compared
from eduprm.rank import candidates_from_leaves


def forest(tree: str, nodes: list[tuple]) -> pl.DataFrame:
    """Nodes as (parent, tokens, finish, order, greedy)."""
    rows = [
        (
            "p",
            tree,
            node,
            parent,
            list(range(node, node + size)),
            [-0.5] * size,
            [0.1] * size,
            "",
            finish,
            *found,
        )
        for node, (parent, size, finish, *found) in enumerate(nodes)
    ]
    return pl.DataFrame(rows, schema={**NODE_SCHEMA, **FOUND_COLUMNS}, orient="row")


# The greedy path takes 9 tokens, a branch that was given up 2, another solution 6 behind its fork, one given up last 1.
SEARCH = forest(
    "search",
    [
        (None, 4, None, None, None),
        (0, 5, "stop", 0, True),
        (0, 2, "pruned", 1, False),
        (0, 6, "stop", 2, False),
        (0, 1, "pruned", 3, False),
    ],
)
SAMPLES = forest(
    "samples",
    [(None, 0, None, None, None), *((0, size, "stop", n, False) for n, size in enumerate((7, 6, 8)))],
)


def candidates(nodes: pl.DataFrame) -> pl.DataFrame:
    leaves = leaf_paths(nodes).filter(pl.col("finish") != "pruned")
    grades = leaves.select(
        "problem_id", "tree", "leaf", answer=pl.col("leaf").cast(pl.String), correct=pl.lit(True)
    )
    scores = leaves.select("problem_id", "tree", "leaf", step_scores=pl.lit([0.5]))
    return candidates_from_leaves(leaves, grades, step_scores=scores, order=found_leaves(nodes))


def added(*forests: pl.DataFrame) -> pl.DataFrame:
    nodes = pl.concat(forests)
    cost = token_cost(nodes, ns=range(1, 5), order=found_leaves(nodes))
    return added_tokens(pl.concat([candidates(one) for one in forests]), cost)


def test_a_solution_costs_what_it_added_and_what_was_given_up_on_the_way():
    tokens = added(SEARCH, SAMPLES)
    assert tokens.filter(tree="search").select("leaf", "added").rows() == [(1, 9), (3, 2 + 6 + 1)]
    # Independent samples share nothing: each costs its path.
    assert tokens.filter(tree="samples")["added"].to_list() == [7, 6, 8]
    shown = mean_decoded(tokens, "search", "S", [1, 2, 4])
    assert shown.rows() == [("S", 1, 9.0), ("S", 2, 18.0), ("S", 4, 18.0)]


@pytest.mark.parametrize(
    ("main", "other", "kept", "spent"),
    [
        # 18 tokens pay for the greedy solution (9) and one sample (7); the next (6) would cross.
        (SEARCH, SAMPLES, 2, 16),
        # 21 tokens pay for all of the tree: a fork's shared beginning is paid once.
        (SAMPLES, SEARCH, 2, 18),
    ],
)
def test_equal_tokens_pay_for_what_was_decoded(main, other, kept, spent):
    greedy = candidates(SEARCH).filter("greedy")
    level = Level(candidates(main), candidates(other), greedy, added(main, other), [3], seed=0, bootstrap=10)
    curve, tokens, equal = level.compare(main["tree"][0], Compared(other["tree"][0], "Other"))
    name = "Other, =tokens" if other is SEARCH else "greedy+Other, =tokens"
    assert equal.method == name
    assert set(curve["method"]) == {name}
    assert curve.filter(rule="prm_min")["candidates"].item() == kept
    assert tokens["decoded"].item() == equal.spent["spent"].item() == spent
    assert equal.differences["drop"]["oracle"]["difference"] == 0.0


# A search whose only solution comes behind a branch of 7 tokens that was given up: it costs 2 + 7 + 8.
DEAR = forest("dear", [(None, 2, None, None, None), (0, 7, "pruned", 0, False), (0, 8, "stop", 1, True)])


@pytest.mark.parametrize("ns", [[1], [1, 3], [3]])
def test_a_problem_that_nothing_fits_in_keeps_its_first_solution_at_every_n(ns):
    cheap, dear = (
        nodes.with_columns(problem_id=pl.lit(name)) for nodes, name in ((SAMPLES, "a"), (DEAR, "a"))
    )
    main, other = pl.concat([cheap, SAMPLES]), pl.concat([dear, SEARCH.with_columns(tree=pl.lit("dear"))])
    found = candidates(other)
    level = Level(
        candidates(main), found, found.filter("greedy"), added(main, other), ns, seed=0, bootstrap=10
    )
    curve, tokens, equal = level.compare("samples", Compared("dear", "Dear"))
    # 7 tokens pay for one sample: neither the 17 of problem a nor the 9 of problem p fit; 21 pay for all.
    over, spent = {1: 2, 3: 0}, {1: (17 + 9) / 2, 3: (17 + 18) / 2}
    assert curve.filter(rule="oracle").select("n", "problems").rows() == [(n, 2) for n in ns]
    assert tokens["decoded"].to_list() == [spent[n] for n in ns]
    assert equal.over == {n: over[n] for n in ns if over[n]}
    for way in ("drop", "keep"):
        assert {one["problems"] for one in equal.differences[way].values()} == {2}
    facts = {"problems": equal.spent.height, "problems_over_budget": equal.over}
    said = over_lines({"equal_tokens": {equal.method: facts}})
    told = "the first solution alone costs more than the budget, and is kept, on 2 at n = 1 (of 2 problems)"
    assert said == ([f"Dear, =tokens: {told}"] if 1 in ns else [])
