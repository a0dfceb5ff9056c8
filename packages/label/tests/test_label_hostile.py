"""Hostile answers of each kind through every grader: no error, no right grade, no wait that grows with the text.

The campaign over 10,000 is packages/label/benchmarks/hostile_answers.py; its figures stand in docs/reliability.md.
"""

import time

import pytest

from eduprm.label import extract_answer, get_grader
from eduprm.label.testing import HOSTILE_KINDS, hostile_texts

PROBLEM = {"problem_id": "p", "question": "?", "answer": "314159", "metadata": None}


@pytest.mark.parametrize("name", ["number", "math", "reasoning-gym"])
def test_no_hostile_answer_raises_or_is_right(name: str) -> None:
    options = {} if name == "number" else {"timeout_s": 1.0}
    texts = list(hostile_texts(2 * len(HOSTILE_KINDS), seed=5, most_chars=20_000))
    assert {kind for kind, _ in texts} == set(HOSTILE_KINDS)
    with get_grader(name, **options) as grader:
        problem = {**PROBLEM, "source": "reasoning_gym:products"}
        assert not any(grader.grade(text, problem) for _, text in texts)
        # And the grader goes on working.
        assert grader.grade("#### 314159", problem)


def test_the_cost_of_an_endless_answer_is_bounded() -> None:
    for unit in ("\n", "1,000,", "- ", "½"):
        endless = "#### " + unit * (20_000_000 // len(unit))
        start = time.process_time()
        extract_answer(endless + "\n#### 7")
        assert time.process_time() - start < 5.0, unit  # reading all of it would take a minute
    assert extract_answer("1" * 5_000_000 + "\n#### 7") == "7"


@pytest.mark.parametrize("text", [r"\frac{1}{\frac{1}{\frac{1}{2}}", r"\frac{ 1 } { \dfrac{1}{2}"])
def test_the_innermost_of_nested_fractions_is_no_answer(text: str) -> None:
    assert extract_answer(text) is None
    assert extract_answer(rf"so it is ${text}$") != r"\frac{1}{2}"


def test_a_fraction_by_itself_is_an_answer() -> None:
    assert extract_answer(r"so it is \frac{1}{2}") == r"\frac{1}{2}"
    assert extract_answer(r"1 and {\frac{1}{2}}") is not None
