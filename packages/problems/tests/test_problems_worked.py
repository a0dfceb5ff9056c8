"""Worked solutions: every line true by the step checker, every answer right by reasoning-gym's own scorer."""

import json
import re

import polars as pl
import pytest

from eduprm.label import ReasoningGymGrader, check_derivation, check_steps, grade_frame
from eduprm.problems import make_problems
from eduprm.problems.worked import worked_solution

reasoning_gym = pytest.importorskip("reasoning_gym", reason="needs the extra eduprm-bench[reasoning-gym]")

# (task, settings, fewest steps): the named tasks as they are, and data sets far beyond what a small policy learns.
TASKS = [
    ("long_sum", {}, 5),
    ("long_product", {}, 2),
    ("mixed", {}, 5),
    ("equations", {}, 1),
    ("fractions", {}, 2),
    ("products", {}, 1),
    ("products12", {}, 1),
    ("chain_sum", {"allow_negation": True, "max_digits": 3}, 1),
    ("rg:products", {"min_terms": 3, "max_terms": 3, "max_digits": 3, "allow_negation": True}, 2),
    ("rg:basic_arithmetic", {"operators": ["+", "-", "*"], "max_digits": 2}, 0),
    ("rg:simple_equations", {"operators_weights": [0.2, 0.2, 0.6]}, 0),
    ("rg:fraction_simplification", {"styles": ["plain"], "min_factor": 2, "max_factor": 12}, 2),
]


@pytest.fixture(scope="module")
def grader():
    with ReasoningGymGrader() as shared:
        yield shared


@pytest.mark.parametrize(("task", "config", "fewest"), TASKS)
def test_every_line_is_a_true_equation_and_the_answer_scores(task, config, fewest, grader):
    problems = make_problems(task, count=150, seed=5, config=config)
    texts = []
    for metadata in problems["metadata"]:
        kept = json.loads(metadata)
        texts.append(worked_solution(kept["dataset"], kept["entry"]["metadata"]))
    if fewest:
        assert None not in texts
    assert sum(text is not None for text in texts) > 140  # "x = 9" has nothing to work
    for text in filter(None, texts):
        *steps, last = check_steps(text)
        assert last.valid
        assert not last.has_equation
        assert text[last.start :].startswith("#### ")
        assert len(steps) >= fewest
        for step in steps:
            assert step.has_equation, text
            assert step.valid, text
    solutions = problems.select("problem_id").with_columns(text=pl.Series(texts, dtype=pl.String))
    graded = grade_frame(solutions, problems, grader)
    assert graded.filter(graded["text"].is_not_null())["correct"].all()


@pytest.mark.parametrize("task", ["long_sum", "mixed"])
def test_long_tasks_stay_small_and_use_up_their_operands(task):
    for metadata in make_problems(task, count=60, seed=1)["metadata"]:
        kept = json.loads(metadata)
        text = worked_solution(kept["dataset"], kept["entry"]["metadata"])
        results = [int(line.split(" = ")[1]) for line in text.splitlines()[:-1]]
        assert all(0 <= result <= 99 for result in results), text
        if task == "long_sum":  # products of "mixed" may be cut by place value
            operands = re.findall(r"\d+", kept["entry"]["metadata"]["expression"])
            assert check_derivation(text, operands).sound, text


@pytest.mark.parametrize(
    ("expression", "worked"),
    [
        ("9 - ( 2 + 3 ) * 2", "2 + 3 = 5\n5 * 2 = 10\n9 - 10 = -1\n#### -1"),
        ("-3 - -4", "-3 - -4 = 1\n#### 1"),
        ("3 * 4 * 7", "3 * 4 = 12\n10 * 7 = 70\n2 * 7 = 14\n70 + 14 = 84\n#### 84"),
        ("20 * 7", "20 * 7 = 140\n#### 140"),
        ("- ( 4 + 1 ) - 2", "4 + 1 = 5\n-5 - 2 = -7\n#### -7"),
    ],
)
def test_expressions_are_worked_in_the_usual_order(expression, worked):
    assert worked_solution("basic_arithmetic", {"expression": expression}) == worked


@pytest.mark.parametrize(
    ("equation", "worked"),
    [
        ("4*x + 7 = 35", "35 - 7 = 28\n28 / 4 = 7\n#### 7"),
        ("12 - 8*x = -4", "-4 - 12 = -16\n-16 / -8 = 2\n#### 2"),
        ("-x - 3 = -8", "-8 + 3 = -5\n-5 / -1 = 5\n#### 5"),
        ("x = 9", None),
        ("2*x = 7", None),
    ],
)
def test_equations_are_worked_backwards(equation, worked):
    assert worked_solution("simple_equations", {"equation": equation}) == worked


def test_what_cannot_be_worked_is_said():
    with pytest.raises(ValueError, match="chain_sum"):
        worked_solution("gcd", {})
    assert worked_solution("basic_arithmetic", {"expression": "3 / 2"}) is None
    latex = {"style": "latex_frac", "numerator": 2, "denominator": 4}
    assert worked_solution("fraction_simplification", latex) is None
