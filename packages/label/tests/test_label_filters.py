"""Consensus of values and a judge: trees by hand, and what must hold on any."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.forest import NODE_SCHEMA, leaf_paths
from eduprm.label import check_steps, filter_rows, label_forest
from eduprm.label.judges.equations import Judge


def forest(parents, texts):
    inner = set(parents)
    rows = [
        (
            "p",
            "edu",
            node,
            None if above < 0 else above,
            [node],
            [-0.5],
            [0.5],
            text,
            None if node in inner else "stop",
        )
        for node, (above, text) in enumerate(zip(parents, texts, strict=True))
    ]
    return pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row")


def labelled(parents, texts, right, **options):
    inner = set(parents)
    leaves = [node for node in range(len(parents)) if node not in inner]
    grades = pl.DataFrame(
        {"problem_id": "p", "tree": "edu", "node_id": leaves, "correct": right},
        schema_overrides={"node_id": pl.Int32},
    )
    return label_forest(forest(parents, texts), grades, **options)


PARENTS = [-1, 0, 0, 2, 2, 0]
TEXTS = ["3 * 4 =", " 12\n#### 12", " 13\n", "13 + 0 = 13\n#### 13", "so 12\n#### 12", " 12\n#### 11"]
# 1: no fault, right: kept. 2 is false to the checker. 3 is wrong: its values say wrong from 3 on, but 2 has a right
# leaf below, so they find the fault later than the checker. 4 is right though its path holds a false equation.
# 5 is wrong, and the checker sees nothing.
RIGHT = [True, False, True, False]


def test_consensus_by_hand():
    found = filter_rows(labelled(PARENTS, TEXTS, RIGHT), filter="consensus")
    assert found["kept"].to_list() == [None, True, None, False, False, False]
    assert found["weight"].to_list() == [1, 1, 0, 0, 0, 0]
    assert found["scale"].to_list() == [0.25, 1, 0, 0, 0, 0]
    # Without a right leaf behind 13, values and checker find the same wrong step.
    found = filter_rows(labelled(PARENTS, TEXTS, [True, False, False, False]), filter="consensus")
    assert found["kept"].to_list() == [None, True, None, True, True, False]
    assert found["weight"].to_list() == [3, 1, 2, 1, 1, 0]
    # At a threshold of one half the values say wrong from the root on, and the checker from 13 on.
    found = filter_rows(labelled(PARENTS, TEXTS, RIGHT), filter="consensus", options={"threshold": 0.5})
    assert found["kept"].to_list() == [None, False, None, True, True, False]


def test_a_step_in_the_middle_of_a_line_is_not_compared():
    assert Judge().verdicts(forest(PARENTS, TEXTS)).to_list() == [None, True, False, False, False, True]
    assert Judge().verdicts(forest([-1, 0, 1], ["1 + 1 = 3\n2", " + 2", " = 4"])).to_list() == [False] * 3
    assert Judge().verdicts(forest([-1, 0, 1], ["1 + 1 = 2\n2", " + 2", " = 5"])).to_list() == [
        None,
        None,
        False,
    ]


@settings(deadline=None)
@given(data=st.data(), size=st.integers(1, 14))
def test_what_is_kept_is_a_path_on_which_both_say_the_same(data, size):
    parents = [-1]
    for node in range(1, size):
        path = [node - 1]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        parents.append(data.draw(st.sampled_from(path)))
    texts = [
        data.draw(st.sampled_from(["1 + 1 = 2\n", "1 + 1 = 3\n", "so\n", "2 * ", "2 = 4\n", "3 = 5\n"]))
        for _ in parents
    ]
    leaves = [node for node in range(size) if node not in set(parents)]
    right = [data.draw(st.booleans()) for _ in leaves]
    steps = np.array([data.draw(st.booleans()) or node in leaves for node in range(size)])
    before = labelled(parents, texts, right).with_columns(pl.col("weight") * pl.Series(steps))
    after = filter_rows(before, filter="consensus")
    kept = dict(after.filter(pl.col("kept").is_not_null()).select("node_id", "kept").iter_rows())
    assert list(kept) == leaves
    values = before["value"].to_list()
    for leaf in leaves:
        path = [leaf]
        while parents[path[0]] >= 0:
            path.insert(0, parents[path[0]])
        agree, fine = True, True
        for place, node in enumerate(path):
            text = "".join(texts[one] for one in path[: place + 1])
            closed = text if node == leaf else text[: text.rfind("\n") + 1]
            false = any(not check.valid for check in check_steps(closed))
            fine = fine and not (steps[node] and values[node] == 0)
            told = false or node == leaf or closed == text.rstrip(" ")
            agree = agree and (not steps[node] or not told or fine != false)
        assert kept[leaf] == agree
    # A node weighs as much as the solutions through it that are kept.
    for node, weight in enumerate(after["weight"].to_list()):
        through = [leaf for leaf in leaves if _above(parents, leaf, node) and kept[leaf]]
        assert weight == pytest.approx(len(through) if steps[node] else 0)
    assert after.drop("weight", "scale", "kept").equals(before.drop("weight"))
    for node, scale in enumerate(after["scale"].to_list()):
        below = [kept[leaf] for leaf in leaves if _above(parents, leaf, node)]
        assert scale == pytest.approx(sum(below) / len(below))
    assert leaf_paths(after.drop("kept")).height == len(leaves)


def _above(parents, leaf, node):
    while leaf > node:
        leaf = parents[leaf]
    return leaf == node


# By the values 3 and 5 are wrong, and so are the judge's; below .65 the judge says so of 4, too, which is right.
SCORES = [0.9, 0.8, 0.7, 0.2, 0.6, 0.4]


@pytest.mark.parametrize(
    ("change", "threshold", "kept"),
    [
        ({}, 0.5, [True, True, True, True]),
        ({}, 0.65, [True, True, False, True]),
        ({2: 0.3}, 0.5, [True, False, False, True]),  # 2 has a right leaf below
        ({2: None}, 0.5, [True, True, True, True]),  # cannot tell there
        ({5: None}, 0.5, [True, True, True, False]),  # no verdict on the solution
        ({0: 0.1, 3: None}, 0.5, [False, False, False, False]),
    ],
)
def test_consensus_with_scores_by_hand(change, threshold, kept):
    scores = [change.get(node, score) for node, score in enumerate(SCORES)]
    trees = labelled(PARENTS, TEXTS, RIGHT).with_columns(judge_score=pl.Series(scores, dtype=pl.Float64))
    options = {"judge": "scores", "judge_options": {"threshold": threshold}}
    found = filter_rows(trees, filter="consensus", options=options)
    assert found["kept"].drop_nulls().to_list() == kept


@settings(deadline=None)
@given(data=st.data(), size=st.integers(1, 14))
def test_scores_and_values_agree_at_every_step_of_what_is_kept(data, size):
    parents = [
        -1,
        *(data.draw(st.just(node - 1) | st.sampled_from([0, node - 1])) for node in range(1, size)),
    ]
    for node in range(2, size):  # preorder: a parent is on the path of the row before
        path = [node - 1]
        while parents[path[-1]] >= 0:
            path.append(parents[path[-1]])
        assert parents[node] in path
    leaves = [node for node in range(size) if node not in set(parents)]
    right = [data.draw(st.booleans()) for _ in leaves]
    scores = [data.draw(st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0])) for _ in parents]
    trees = labelled(parents, ["s\n"] * size, right).with_columns(
        judge_score=pl.Series(scores, dtype=pl.Float64)
    )
    after = filter_rows(trees, filter="consensus", options={"judge": "scores"})
    kept = dict(after.filter(pl.col("kept").is_not_null()).select("node_id", "kept").iter_rows())
    values = trees["value"].to_list()
    for leaf in leaves:
        path = [node for node in range(size) if _above(parents, leaf, node)]
        agree = scores[leaf] is not None
        low, wrong = False, False
        for node in path:
            low, wrong = low or (scores[node] is not None and scores[node] < 0.5), wrong or values[node] == 0
            agree = agree and (low == wrong or (scores[node] is None and not low))
        assert kept[leaf] == agree


class Short:
    def verdicts(self, forest):
        return pl.Series([True])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"judge": "oracle"},
            "judges: expected one of equations, scores or package.module:Judge, got 'oracle'",
        ),
        ({"threshold": 1.0}, "expected threshold from 0 up and below 1, got 1.0"),
        ({"judge": f"{__name__}:Short"}, "expected 6 verdicts, got 1"),
        ({"judge": "scores"}, "expected a column judge_score"),
        ({"judge": "scores", "judge_options": {"threshold": 0}}, "scores: expected threshold above 0"),
        ({"judge_options": {"threshold": 0.5}}, "equations: expected no options, got 'threshold'"),
        ({"jugde": "equations"}, "got 'jugde'"),
    ],
)
def test_wrong_options_are_said(options, words):
    with pytest.raises(ValueError, match=words):
        filter_rows(labelled(PARENTS, TEXTS, RIGHT), filter="consensus", options=options)
