"""Weights of questions: by hand, and against counts one by one."""

import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eduprm.label import weigh_questions

NODES = pl.DataFrame({"problem_id": ["a", "a", "b", "c", "d"], "weight": [3.0, 0.5, 2.0, 2.0, 2.0]})
ROWS = {
    "a": [("7", True), ("7", True), ("8", False), ("9", False)],  # 1/2, 1/4, 1/4: 1.5 bits
    "b": [("1", False), ("2", False)],  # nothing right
    "c": [("5", True), ("5", True)],  # all agree
    "d": [("5", True), ("6", False), (None, False)],  # one bit; no answer is none
}


def graded(rows):
    flat = [(problem, answer, correct) for problem, leaves in rows.items() for answer, correct in leaves]
    return pl.DataFrame(
        flat,
        schema={"problem_id": pl.String, "answer": pl.String, "correct": pl.Boolean},
        orient="row",
    )


def test_east_by_hand():
    weights = weigh_questions(NODES, graded(ROWS), weights="east")["weight"].to_list()
    assert weights == pytest.approx([4.5, 0.75, 0, 0, 2])
    squared = weigh_questions(NODES, graded(ROWS), weights="east", options={"power": 2.0})["weight"].to_list()
    assert squared == pytest.approx([3 * 2.25, 0.5 * 2.25, 0, 0, 2])


def test_one_leaves_the_weights_as_they_are():
    assert weigh_questions(NODES, graded(ROWS))["weight"].to_list() == NODES["weight"].to_list()


def test_a_question_s_weight_is_its_scale_too():
    scales = weigh_questions(NODES, graded(ROWS), weights="east")["scale"].to_list()
    assert scales == pytest.approx([1.5, 1.5, 0, 0, 1])
    half = NODES.with_columns(scale=pl.lit(0.5))
    assert weigh_questions(half, graded(ROWS), weights="east")["scale"].to_list() == pytest.approx(
        [0.75, 0.75, 0, 0, 0.5]
    )


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="east: expected power above 0, got 0"):
        weigh_questions(NODES, graded(ROWS), weights="east", options={"power": 0})
    with pytest.raises(ValueError, match=r"expected one of east, one or package\.module:Weights, got 'west'"):
        weigh_questions(NODES, graded(ROWS), weights="west")
    with pytest.raises(ValueError, match="from 0 to 1e\\+30 for question 'd', got None"):
        weigh_questions(NODES, graded({name: ROWS[name] for name in "abc"}))


answers = st.lists(st.tuples(st.sampled_from(["1", "2", "3", None]), st.booleans()), min_size=1, max_size=12)


@given(st.dictionaries(st.sampled_from("abcdef"), answers, min_size=1), st.floats(0.1, 4))
def test_east_is_the_entropy_of_counts(rows, power):
    nodes = pl.DataFrame({"problem_id": list(rows), "weight": 1.0})
    found = weigh_questions(nodes, graded(rows), weights="east", options={"power": power})["weight"].to_list()
    for weight, leaves in zip(found, rows.values(), strict=True):
        counts = Counter(answer for answer, _ in leaves if answer is not None)
        total = sum(counts.values())
        bits = -sum(count / total * math.log2(count / total) for count in counts.values())
        right = any(correct for _, correct in leaves)
        assert weight == pytest.approx(bits**power if right and bits > 1e-9 else 0.0, abs=1e-6)


def test_weights_stay_in_what_training_holds():
    """Labels are float32 there: what is infinite is refused, and what would be 0 is left out here already."""
    with pytest.raises(
        ValueError, match=r"expected a number from 0 to 1e\+30 for question 'a', got 1\.6\d*e\+35"
    ):
        weigh_questions(NODES, graded(ROWS), weights="east", options={"power": 200})  # 1.5 ** 200
    one_of_eight = graded({"e": [("1", True)] * 7 + [("2", False)]})  # .54 bits
    nodes = pl.DataFrame({"problem_id": ["e"], "weight": [2.0]})
    tiny = weigh_questions(nodes, one_of_eight, weights="east", options={"power": 200})
    assert tiny.select("weight", "scale").row(0) == (0.0, 0.0)
    small = weigh_questions(nodes, one_of_eight, weights="east", options={"power": 20})
    assert small["weight"][0] == pytest.approx(2 * 0.543564443**20)
