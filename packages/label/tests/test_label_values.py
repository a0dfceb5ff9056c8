"""Values against brute force over leaves, labels, weights, and what is refused."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.forest import NODE_SCHEMA, validate_forest
from eduprm.label import label_forest


@st.composite
def trees(draw: st.DrawFn, *, logprobs: st.SearchStrategy[float]) -> list[dict]:
    """Nodes of one random tree in preorder: parent, summed parts of log-prob, and whether a leaf is right."""
    size = draw(st.integers(1, 14))
    nodes: list[dict] = []
    last_path: list[int] = []
    for i in range(size):
        # A new node hangs from any node on the path to the one before it: exactly the preorders.
        parent = None if i == 0 else last_path[draw(st.integers(0, len(last_path) - 1))]
        last_path = [0] if parent is None else [*last_path[: last_path.index(parent) + 1], i]
        least = 0 if i == 0 else 1
        tokens = draw(st.lists(logprobs, min_size=least, max_size=3))
        nodes.append({"parent": parent, "logprobs": tokens, "right": draw(st.booleans())})
    return nodes


def frame_of(forest: list[list[dict]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, grades = [], []
    for number, nodes in enumerate(forest):
        inner = {node["parent"] for node in nodes}
        for i, node in enumerate(nodes):
            leaf = i not in inner
            lists = [[7] * len(node["logprobs"]), node["logprobs"], [0.5] * len(node["logprobs"])]
            rows.append(
                [f"p{number // 2}", f"t{number}", i, node["parent"], *lists, "x", "stop" if leaf else None]
            )
            if leaf:
                grades.append([f"p{number // 2}", f"t{number}", i, node["right"]])
    schema = {"problem_id": pl.String, "tree": pl.String, "node_id": pl.Int32, "correct": pl.Boolean}
    return pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row"), pl.DataFrame(
        grades, schema=schema, orient="row"
    )


def brute_force(nodes: list[dict]) -> list[tuple[int, int, float, float]]:
    """(leaves, right leaves, uniform value, probability value) per node, from the list of leaves below it."""
    children: dict[int, list[int]] = {i: [] for i in range(len(nodes))}
    for i, node in enumerate(nodes):
        if node["parent"] is not None:
            children[node["parent"]].append(i)

    def leaves_below(i: int, logprob: float) -> list[tuple[float, bool]]:
        if not children[i]:
            return [(logprob, nodes[i]["right"])]
        found = []
        for child in children[i]:
            found += leaves_below(child, logprob + math.fsum(np.float32(x) for x in nodes[child]["logprobs"]))
        return found

    result = []
    for i in range(len(nodes)):
        below = leaves_below(i, 0.0)
        best = max(logprob for logprob, _ in below)
        mass = [math.exp(logprob - best) for logprob, _ in below]
        right = [right for _, right in below]
        weighted = math.fsum(m for m, r in zip(mass, right, strict=True) if r) / math.fsum(mass)
        result.append((len(below), sum(right), sum(right) / len(below), weighted))
    return result


@settings(max_examples=150, deadline=None)
@given(st.lists(trees(logprobs=st.floats(-4, 0, width=32)), min_size=1, max_size=4))
def test_values_equal_brute_force(forest: list[list[dict]]) -> None:
    check(forest)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(trees(logprobs=st.sampled_from([0.0, -1e-3, -30.0, -700.0, -5000.0])), min_size=1, max_size=3)
)
def test_values_equal_brute_force_where_probabilities_underflow(forest: list[list[dict]]) -> None:
    check(forest)


def check(forest: list[list[dict]]) -> None:
    frame, grades = frame_of(forest)
    validate_forest(frame)
    expected = [row for nodes in forest for row in brute_force(nodes)]
    uniform = label_forest(frame, grades.sample(fraction=1.0, shuffle=True, seed=1))
    weighted = label_forest(frame, grades, rule="probability")
    validate_forest(uniform, labelled=True)
    validate_forest(weighted, labelled=True)
    assert uniform["leaves"].to_list() == [row[0] for row in expected]
    assert uniform["correct"].to_list() == [row[1] for row in expected]
    assert uniform["value"].to_list() == pytest.approx([row[2] for row in expected], abs=1e-12)
    assert weighted["value"].to_list() == pytest.approx([row[3] for row in expected], abs=1e-9)
    for value, (leaves, correct, _, _) in zip(weighted["value"], expected, strict=True):
        assert correct not in (0, leaves) or value == correct / leaves  # hard labels stay exactly 0 or 1


def small() -> tuple[pl.DataFrame, pl.DataFrame]:
    nodes = [
        {"parent": None, "logprobs": [], "right": False},
        {"parent": 0, "logprobs": [-0.5], "right": False},
        {"parent": 1, "logprobs": [-0.1], "right": True},
        {"parent": 1, "logprobs": [-2.0], "right": False},
        {"parent": 0, "logprobs": [-1.0], "right": False},
    ]
    return frame_of([nodes])


def test_targets_and_weights() -> None:
    frame, grades = small()
    soft = label_forest(frame, grades)
    assert soft["label"].to_list() == soft["value"].to_list()
    assert soft["weight"].to_list() == [0.0, 2.0, 1.0, 1.0, 1.0]  # the empty root has no token to score
    hard = label_forest(frame, grades, target="hard", node_weight="one")
    assert hard["label"].to_list() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert hard["weight"].to_list() == [0.0, 1.0, 1.0, 1.0, 1.0]
    strict = label_forest(frame, grades, target="hard", hard_threshold=0.5)
    assert strict["label"].to_list() == [
        0.0,
        0.0,
        1.0,
        0.0,
        0.0,
    ]  # 1 of 3, and exactly half, are not above half


def test_relabelling_replaces_and_keeps_other_columns() -> None:
    frame, grades = small()
    once = label_forest(frame.with_columns(score=pl.lit(0.25)), grades)
    twice = label_forest(once, grades, rule="probability")
    assert twice["score"].to_list() == [0.25] * 5
    assert twice["value"][1] == pytest.approx(1 / (1 + math.exp(-1.9)))
    assert sorted(twice.columns) == sorted(once.columns)


def test_an_empty_forest_is_labelled() -> None:
    frame, grades = small()
    for weighting in ("uniform", "probability"):
        assert label_forest(frame.clear(), grades.clear(), rule=weighting).height == 0


def test_a_deep_chain_and_a_caterpillar_need_no_recursion() -> None:
    chain = [{"parent": i - 1 if i else None, "logprobs": [-0.01], "right": True} for i in range(20_000)]
    frame, grades = frame_of([chain])
    assert label_forest(frame, grades, rule="probability")["value"].to_list() == [1.0] * 20_000
    nodes = [{"parent": None, "logprobs": [0.0], "right": False}]
    for i in range(1000):  # each fork: a wrong leaf, then the next fork; every fork is even
        above = 0 if i == 0 else 2 * i
        nodes.append({"parent": above, "logprobs": [math.log(0.5)], "right": False})
        nodes.append({"parent": above, "logprobs": [math.log(0.5)], "right": i == 999})
    frame, grades = frame_of([nodes])
    values = label_forest(frame, grades, rule="probability")["value"]
    assert values[0] == pytest.approx(0.5**1000, rel=1e-3)
    assert values[2 * 990] == pytest.approx(0.5**10, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g[1:], "expected a grade for every leaf, got none for .*'node_id': 2"),
        (lambda g: pl.concat([g, g[:1]]), "several for .*'node_id': 2"),
        (lambda g: g.with_columns(node_id=pl.Series([2, 3, 1], dtype=pl.Int32)), "'node_id': 4|'node_id': 1"),
        (lambda g: g.drop("correct"), "missing"),
        (lambda g: g.with_columns(pl.col("correct").cast(pl.Int8)), "Boolean"),
        (lambda g: g.with_columns(correct=pl.lit(None, dtype=pl.Boolean)), "got none for"),
    ],
)
def test_broken_grades_are_refused_by_name(change, message: str) -> None:
    frame, grades = small()
    with pytest.raises(ValueError, match=message):
        label_forest(frame, change(grades))


def test_a_grade_for_a_node_that_is_no_leaf_is_refused() -> None:
    frame, grades = small()
    extra = grades[:1].with_columns(node_id=pl.lit(1, dtype=pl.Int32))
    with pytest.raises(ValueError, match=r"leaves of the forest only.*'node_id': 1"):
        label_forest(frame, pl.concat([grades, extra]))


@pytest.mark.parametrize(
    "options",
    [{"rule": "mean"}, {"target": "medium"}, {"node_weight": "all"}, {"hard_threshold": 1.0}],
)
def test_unknown_options_are_refused(options: dict) -> None:
    frame, grades = small()
    with pytest.raises(ValueError, match="expected"):
        label_forest(frame, grades, **options)


@pytest.mark.parametrize("logprob", [-math.inf, math.inf, math.nan])
def test_a_log_prob_that_is_not_finite_is_refused_by_row(logprob: float) -> None:
    frame, grades = small()
    logprobs = frame["logprobs"].to_list()
    logprobs[3] = [logprob]
    broken = frame.with_columns(pl.Series("logprobs", logprobs, dtype=frame.schema["logprobs"]))
    with pytest.raises(ValueError, match=r"finite log-probs.*row 4 .*'node_id': 3.*sums to (-?inf|nan)"):
        label_forest(broken, grades, rule="probability")
    assert label_forest(broken, grades)["value"].to_list() == label_forest(frame, grades)["value"].to_list()
