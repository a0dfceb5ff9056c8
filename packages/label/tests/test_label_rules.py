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


def test_first_error_by_hand():
    # 0 - (1 - (2 - (3 wrong), 4 wrong), 5 right): 1 is the first step behind which nothing is right.
    forest, grades = tree([-1, 0, 1, 2, 1, 0], [False, False, True])
    labelled = label_forest(forest, grades, rule="first_error")
    assert labelled["label"].to_list() == pytest.approx([1 / 3, 0, 0, 0, 0, 1])
    assert labelled["weight"].to_list() == [3, 2, 0, 0, 0, 1]
    hard = label_forest(forest, grades, rule="first_error", target="hard", node_weight="one")
    assert hard.select("label", "weight").rows() == [(1, 1), (0, 1), (0, 0), (0, 0), (0, 0), (1, 1)]


def test_first_error_of_a_tree_without_a_right_leaf_labels_its_first_step_alone():
    labelled = label_forest(*tree(PARENTS, [False] * 5), rule="first_error")
    assert labelled["value"].to_list() == [0] * 8
    assert labelled["weight"].to_list() == [5, 0, 0, 0, 0, 0, 0, 0]


def test_epic_by_hand():
    """Every token has ln p = -1/2, so all completions weigh alike: shares 3/5 at the question, half of it is .3."""
    forest, grades = tree(PARENTS, RIGHT)
    assert label_forest(forest, grades, rule="epic")["value"].to_list() == [1, 1, 1, 0, 1, 1, 1, 0]
    # Right leaves 2 and 5, 6 become improbable: e^-6, wrong ones stay at e^-.5, over the tokens behind each node.
    unlikely = forest.with_columns(
        logprobs=pl.when(pl.col("node_id").is_in([2, 5, 6])).then(pl.lit([-6.0])).otherwise("logprobs")
    )
    question = 3 * math.exp(-7 / 3) / (3 * math.exp(-7 / 3) + 2 * math.exp(-1.5 / 3))
    at_1 = math.exp(-6) / (math.exp(-6) + math.exp(-0.5))
    at_4 = 2 * math.exp(-6) / (2 * math.exp(-6) + math.exp(-0.5))
    at_0 = 3 * math.exp(-6.5 / 2) / (3 * math.exp(-6.5 / 2) + 2 * math.exp(-0.5))
    by_hand = [float(share >= 0.5 * question) for share in (at_0, at_1, 1, 0, at_4, 1, 1, 0)]
    assert by_hand == [0, 0, 1, 0, 0, 1, 1, 0]
    assert label_forest(unlikely, grades, rule="epic")["value"].to_list() == by_hand
    lenient = label_forest(unlikely, grades, rule="epic", rule_options={"least": 0.05})["value"].to_list()
    assert lenient == [float(share > 0.05 * question) for share in (at_0, at_1, 1, 0, at_4, 1, 1, 0)]
    assert lenient[:2] == [1, 0]


@pytest.mark.parametrize(
    ("rule", "options"),
    [("entropy_regularised", {"eta": 0}), ("relative_progress", {"least": 2}), ("epic", {"least": 0})],
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


def path(parents, leaf, node):
    """Nodes below `node` down to `leaf`; None where the leaf is not below it. Node -1 is the question."""
    own = []
    while leaf != node:
        if leaf < 0:
            return None
        own.append(leaf)
        leaf = parents[leaf]
    return own


@given(trees(), st.floats(0.05, 1), st.randoms(use_true_random=False))
def test_epic_is_the_weighted_share_leaf_by_leaf(drawn, least, random):
    parents, right = drawn
    forest, grades = tree(parents, right)
    tokens = [random.randint(0 if node == 0 else 1, 3) for node in range(len(parents))]
    logprobs = [[-random.uniform(0, 6) for _ in range(count)] for count in tokens]
    forest = forest.with_columns(
        token_ids=pl.Series([[7] * count for count in tokens], dtype=pl.List(pl.Int32)),
        entropies=pl.Series([[0.0] * count for count in tokens], dtype=pl.List(pl.Float32)),
        logprobs=pl.Series(logprobs, dtype=forest.schema["logprobs"]),
    )
    logprobs = forest["logprobs"].to_list()
    correct = dict(zip(grades["node_id"], right, strict=True))

    def share(node):
        weights = {}
        for leaf in correct:
            below = path(parents, leaf, node)
            if below is not None:
                own = [value for step in below for value in logprobs[step]]
                weights[leaf] = math.exp(sum(own) / len(own)) if own else 1.0
        return sum(w for leaf, w in weights.items() if correct[leaf]) / sum(weights.values())

    value = label_forest(forest, grades, rule="epic", rule_options={"least": least})["value"].to_list()
    question = share(-1)
    for node in range(len(parents)):
        own = share(node)
        if abs(own - least * question) > 1e-9:
            assert value[node] == float(own > 0 and own > least * question)


# An empty root over two solutions, 1 - 2 - 3 and 7 - 8; rollouts 4 from the end of 2, 5 and 6 from the end of 1.
SOLUTIONS = [-1, 0, 1, 2, 2, 1, 1, 0, 7]


def with_bare_root(forest):
    first = pl.col("node_id") == 0
    empty = {
        "token_ids": pl.List(pl.Int32),
        "logprobs": pl.List(pl.Float32),
        "entropies": pl.List(pl.Float32),
    }
    return forest.with_columns(
        pl.when(first).then(pl.lit([], kind)).otherwise(name).alias(name) for name, kind in empty.items()
    )


def test_rollouts_by_hand():
    # Leaves: 3 wrong, 4 right, 5 right, 6 wrong, 8 right. Node 1 is worth 5 and 6 alone, node 2 its rollout 4.
    forest, grades = tree(SOLUTIONS, [False, True, True, False, True])
    forest = with_bare_root(forest)
    soft = label_forest(forest, grades, rule="rollouts")
    assert soft["value"].to_list()[1:] == [0.5, 1, 0, 1, 1, 0, 1, 1]
    # No rollout was drawn from the end of 7, so it has no label; 8 has its answer's.
    assert soft["weight"].to_list() == [0, 1, 1, 1, 0, 0, 0, 0, 1]
    hard = label_forest(forest, grades, rule="rollouts", target="hard", node_weight="one")
    assert hard["label"].to_list()[1:4] == [1, 1, 0]
    assert hard["weight"].to_list() == soft["weight"].to_list()
    assert label_forest(forest, grades)["value"].to_list()[1] == 0.5  # 2 of 4: uniform counts 3 and 4 too
    assert label_forest(forest, grades)["value"].to_list()[2] == 0.5  # and the solution itself


@given(data=st.data(), steps=st.lists(st.integers(1, 4), min_size=1, max_size=3), drawn=st.integers(0, 3))
def test_rollouts_are_counted_where_they_begin(data, steps, drawn):
    """Solutions of so many steps under an empty root, `drawn` rollouts of two nodes from each step but the last."""
    parents, right, expected = [-1], [], {}

    def leaf():
        right.append(data.draw(st.booleans()))
        return float(right[-1])

    def grow(above, left):
        node = len(parents)
        parents.append(above)
        if left == 1:
            expected[node] = leaf()
            return
        grow(node, left - 1)
        shares = []
        for _ in range(drawn):
            parents.extend([node, len(parents)])
            shares.append(leaf())
        if drawn:
            expected[node] = sum(shares) / drawn

    for count in steps:
        grow(0, count)
    forest, grades = tree(parents, right)
    labelled = label_forest(with_bare_root(forest), grades, rule="rollouts")
    found = labelled.filter(pl.col("weight") > 0).select("node_id", "value").rows()
    assert found == sorted((node, pytest.approx(value)) for node, value in expected.items())
    assert labelled["weight"].is_in([0.0, 1.0]).all()


class Odd:
    def values(self, trees):
        return trees.shares()

    def weights(self, trees):
        return -np.ones(trees.shape.num_nodes)


def test_a_rules_weights_are_checked():
    with pytest.raises(
        ValueError, match=r"expected 8 weights, finite and from 0 up, got shape \(8,\) with least -1"
    ):
        label_forest(*tree(PARENTS, RIGHT), rule=f"{__name__}:Odd")
