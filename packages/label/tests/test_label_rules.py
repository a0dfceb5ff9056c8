"""Label rules beside the shares: hand-computed trees, and what must hold on any tree."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eduprm.forest import NODE_SCHEMA
from eduprm.label import label_forest


def tree(parents, right):
    """A forest of one tree in preorder, a token a node, and its leaves' grades."""
    inner = set(parents)
    rows = [
        (
            "p",
            "edu",
            node,
            None if parent < 0 else parent,
            [node],
            [-0.5],
            [0.5],
            "x",
            None if node in inner else "stop",
        )
        for node, parent in enumerate(parents)
    ]
    leaves = [node for node in range(len(parents)) if node not in inner]
    grades = pl.DataFrame(
        {"problem_id": "p", "tree": "edu", "node_id": leaves, "correct": right},
        schema_overrides={"node_id": pl.Int32},
    )
    return pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row"), grades


# 0 - (1 - (2 right, 3 wrong), 4 - (5 right, 6 right, 7 wrong)); shares 3/5, 1/2, 1, 0, 2/3, 1, 1, 0.
PARENTS, RIGHT = [-1, 0, 1, 1, 0, 4, 4, 4], [True, False, True, True, False]


def test_entropy_regularised_by_hand():
    values = label_forest(*tree(PARENTS, RIGHT), rule="entropy_regularised", rule_options={"eta": 1.0})[
        "value"
    ]
    by_hand = [
        math.log(0.4 + 0.6 * math.e),
        math.log(0.5 + 0.5 * math.e),
        1,
        0,
        math.log((1 + 2 * math.e) / 3),
    ]
    assert values.to_list() == pytest.approx([*by_hand, 1, 1, 0])


def test_relative_progress_by_hand():
    values = label_forest(*tree(PARENTS, RIGHT), rule="relative_progress")["value"]
    # 1/2 of 3/5 is a ratio of .83, 2/3 of 3/5 is 1.1; right leaves gain, wrong ones lose all.
    assert values.to_list() == [1, 1, 1, 0, 1, 1, 1, 0]
    strict = label_forest(*tree(PARENTS, RIGHT), rule="relative_progress", rule_options={"least": 0.9})[
        "value"
    ]
    assert strict.to_list() == [1, 0, 1, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("rule", "options"), [("entropy_regularised", {"eta": 0}), ("relative_progress", {"least": 2})]
)
def test_an_option_out_of_range_is_refused(rule, options):
    with pytest.raises(ValueError, match=rf"{rule}: expected {next(iter(options))}"):
        label_forest(*tree(PARENTS, RIGHT), rule=rule, rule_options=options)


@st.composite
def trees(draw):
    """Any tree in preorder: each node hangs on the path to the one before it."""
    parents = [-1]
    for node in range(1, draw(st.integers(2, 15))):
        path, at = [], node - 1
        while at >= 0:
            path.append(at)
            at = parents[at]
        parents.append(draw(st.sampled_from(path)))
    leaves = len(set(range(len(parents))) - set(parents))
    return parents, draw(st.lists(st.booleans(), min_size=leaves, max_size=leaves))


@given(trees(), st.floats(0.01, 50))
def test_entropy_regularised_lies_between_the_mean_and_the_best_leaf(drawn, eta):
    forest, grades = tree(*drawn)
    mean = label_forest(forest, grades)["value"].to_numpy()
    value = label_forest(forest, grades, rule="entropy_regularised", rule_options={"eta": eta})[
        "value"
    ].to_numpy()
    assert (value >= mean - 1e-9).all()
    assert (value <= (mean > 0)).all()
    hotter = label_forest(forest, grades, rule="entropy_regularised", rule_options={"eta": 2 * eta})[
        "value"
    ].to_numpy()
    assert (hotter >= value - 1e-9).all()


@given(trees(), st.floats(0.05, 1))
def test_relative_progress_is_one_ratio_at_a_time(drawn, least):
    forest, grades = tree(*drawn)
    share = label_forest(forest, grades)["value"].to_list()
    value = label_forest(forest, grades, rule="relative_progress", rule_options={"least": least})[
        "value"
    ].to_list()
    for node, parent in enumerate(drawn[0]):
        before = share[parent] if parent >= 0 else share[node]
        assert value[node] == float(share[node] > 0 and share[node] / before >= least - 1e-12)
    assert np.isin(value, [0.0, 1.0]).all()
