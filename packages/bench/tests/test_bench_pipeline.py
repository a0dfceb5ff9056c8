"""A forest goes through forest, label and bench together, and the numbers are those worked out by hand."""

import polars as pl
import pytest

from eduprm.bench import equal_tokens, token_cost
from eduprm.forest import NODE_SCHEMA, PROBLEM_SCHEMA, leaf_paths, token_counts, validate_forest
from eduprm.label import NumberGrader, grade_frame
from eduprm.rank import CandidateError, candidates_from_leaves, choose, evaluate_rules, paired_difference

# One problem, 3 * 4 * 5. The tree: greedy goes wrong (61), its fork is right (60), a later fork has no answer.
EDU = [
    (0, None, 2, "3 * 4 = ", None),
    (1, 0, 1, "12\n", None),
    (2, 1, 3, "12 * 5 = 61\n#### 61", "stop"),
    (3, 1, 4, "12 * 5 = 60\n#### 60", "stop"),
    (4, 0, 2, "13, or\n####", "length"),
]
HT = [
    (0, None, 0, "", None),
    *[(k, 0, 6, f"#### {answer}", "stop") for k, answer in enumerate((61, 60, 60), 1)],
]


def forest() -> pl.DataFrame:
    rows = [
        ("p", tree, node, parent, list(range(num)), [-0.25] * num, [0.5] * num, text, finish)
        for tree, nodes in (("edu", EDU), ("ht", HT))
        for node, parent, num, text, finish in nodes
    ]
    return validate_forest(pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row"))


def problems() -> pl.DataFrame:
    row = ("p", "3 * 4 * 5?", "60", None, "test:products", "test", None)
    return pl.DataFrame([row], schema=PROBLEM_SCHEMA, orient="row")


ORDER = pl.DataFrame(
    [("p", "edu", 2, 0), ("p", "edu", 4, 1), ("p", "edu", 3, 2), *[("p", "ht", k, k - 1) for k in (1, 2, 3)]],
    schema={"problem_id": pl.String, "tree": pl.String, "leaf": pl.Int32, "order": pl.Int32},
    orient="row",
).with_columns(greedy=(pl.col("tree") == "edu") & (pl.col("leaf") == 2))


def test_from_a_forest_to_a_paired_difference() -> None:
    leaves = leaf_paths(forest())
    graded = grade_frame(leaves, problems(), NumberGrader())
    scores = graded.select(
        "problem_id", "tree", "leaf", step_scores=pl.when("correct").then([0.8]).otherwise([0.3])
    )
    frame = candidates_from_leaves(graded, graded, step_scores=scores, order=ORDER)
    assert frame.select("tree", "leaf", "answer", "correct", "num_tokens", "order").rows() == [
        ("edu", 2, "61", False, 6, 0),
        ("edu", 3, "60", True, 7, 2),
        ("edu", 4, None, False, 4, 1),
        ("ht", 1, "61", False, 6, 0),
        ("ht", 2, "60", True, 6, 1),
        ("ht", 3, "60", True, 6, 2),
    ]
    edu, ht = (frame.filter(pl.col("tree") == tree) for tree in ("edu", "ht"))
    rules = ["greedy", "prm_min", "majority", "oracle"]
    assert [evaluate_rules(edu, rules=rules, n=n, seed=0)["accuracy"].to_list() for n in (1, 2, 3)] == [
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 1],
    ]
    cost = token_cost(forest(), ns=[1, 2, 3], order=ORDER)
    assert cost.filter(pl.col("tree") == "edu")["decoded"].to_list() == [6, 8, 12]
    budget = cost.filter((pl.col("tree") == "edu") & (pl.col("n") == 3))
    equal, spent = equal_tokens(ht, budget)
    assert spent.select("samples", "spent", "exhausted").row(0) == (2, 12, False)
    got = paired_difference(choose(edu, rules=["oracle"]), choose(equal, rules=["oracle"]), seed=0)
    assert got.difference == 0.0


def test_costs_of_all_leaves_are_those_of_the_forest_package() -> None:
    ours = token_cost(forest()).select("problem_id", "tree", "leaves", "decoded", "path", "distinct")
    names = ["problem_id", "tree", "leaves", "unique_tokens", "path_tokens", "distinct_tokens"]
    theirs = token_counts(forest()).select(names).sort("problem_id", "tree")
    assert ours.rows() == theirs.rows()


def test_a_leaf_without_a_grade_or_an_order_is_named() -> None:
    leaves = leaf_paths(forest())
    graded = grade_frame(leaves, problems(), NumberGrader())
    with pytest.raises(CandidateError, match=r"no grade for row 1 \(problem_id='p', tree='ht', leaf=3\)"):
        candidates_from_leaves(leaves, graded.filter((pl.col("tree") != "ht") | (pl.col("leaf") != 3)))
    with pytest.raises(CandidateError, match="'order' must not be null, null at row 1"):
        candidates_from_leaves(leaves, graded, order=ORDER[1:])
