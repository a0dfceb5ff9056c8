"""Graders: right and wrong answers, gold answers, and what hostile answers may not do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from eduprm.label import (
    FunctionGrader,
    NumberGrader,
    check_gold,
    get_grader,
    grade_frame,
    grade_leaves,
)


def test_gold_answers_of_gsm8k_score_one(data_set) -> None:
    rows = pl.read_ndjson(data_set("gsm8k")).with_row_index("problem_id").cast({"problem_id": pl.String})
    gold = rows.with_columns(pl.col("answer").str.split("#### ").list.last())
    assert check_gold(gold, NumberGrader()).height == 0
    graded = grade_frame(rows.select("problem_id", text="answer"), gold, NumberGrader())
    assert graded["correct"].all()


def test_leaves_are_graded_once_per_answer_and_votes_see_one_spelling() -> None:
    problems = pl.DataFrame({"problem_id": ["p", "q"], "answer": ["1200", "3"]})
    leaves = pl.DataFrame(
        {
            "problem_id": ["p", "p", "q", "p"],
            "tree": ["edu"] * 4,
            "leaf": pl.Series([2, 3, 1, 4], dtype=pl.Int32),
            "text": ["#### $1,200", "A: 1200.0", "#### 1200", None],
        }
    )
    graded = grade_leaves(leaves, problems, NumberGrader())
    assert graded["answer"].to_list() == ["1200", "1200", "1200", None]
    assert graded["correct"].to_list() == [True, True, False, False]
    assert graded["node_id"].to_list() == [2, 3, 1, 4]


def test_function_grader_from_a_path_and_its_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_grading.py").write_text(
        "def ends_well(text, problem):\n    return text.endswith('well')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    grader = get_grader("my_own_grading:ends_well")
    problems = pl.DataFrame({"problem_id": ["p"], "answer": ["x"]})
    frame = grade_frame(
        pl.DataFrame({"problem_id": ["p", "p"], "text": ["all is well", "no"]}), problems, grader
    )
    assert frame["correct"].to_list() == [True, False]
    with pytest.raises(ValueError, match=r"cannot be imported: .* no attribute 'absent'"):
        get_grader("my_own_grading:absent")
    with pytest.raises(ValueError, match="expected a bool or a number"):
        FunctionGrader(lambda text, problem: "yes").grade("", {})


@pytest.mark.parametrize("scalar", [np.bool_, np.float32, np.float64, np.int64, bool, int, float])
def test_function_grader_takes_scalars_of_numpy_and_python(scalar: type) -> None:
    grader = FunctionGrader(lambda text, problem: scalar(text == "yes"))
    assert grader.grade("yes", {}) is True
    assert grader.grade("no", {}) is False


def test_a_function_is_called_once_for_each_distinct_problem_and_text() -> None:
    calls: list[tuple[str, str]] = []

    def grade(text: str, problem: dict) -> bool:
        calls.append((problem["problem_id"], text))
        return text == problem["answer"]

    problems = pl.DataFrame({"problem_id": ["p", "q"], "answer": ["x", "y"]})
    solutions = pl.DataFrame({"problem_id": ["p", "q", "p", "p"], "text": ["x", "x", "x", None]})
    assert grade_frame(solutions, problems, FunctionGrader(grade))["correct"].to_list() == [
        True,
        False,
        True,
        False,
    ]
    assert calls == [("p", "x"), ("q", "x")]


@pytest.mark.parametrize(
    ("solutions", "problems", "message"),
    [
        ({"problem_id": ["z"], "text": ["1"]}, {"problem_id": ["p"], "answer": ["1"]}, "'z'"),
        (
            {"problem_id": ["p"], "text": ["1"]},
            {"problem_id": ["p"], "answer": [None]},
            "gold answer for problem 'p'",
        ),
        (
            {"problem_id": ["p"], "text": ["1"]},
            {"problem_id": ["p", "p"], "answer": ["1", "1"]},
            "several times",
        ),
        ({"problem_id": ["p"]}, {"problem_id": ["p"], "answer": ["1"]}, "missing text"),
    ],
)
def test_broken_frames_are_refused_by_name(solutions: dict, problems: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grade_frame(pl.DataFrame(solutions), pl.DataFrame(problems), NumberGrader())


def test_imports_stay_light_and_missing_extras_are_named() -> None:
    code = """
import json, sys
for absent in ("torch", "math_verify", "reasoning_gym", "sympy"):
    sys.modules[absent] = None
import eduprm.label as label
bare = "polars" not in sys.modules
for name in label.__all__:
    getattr(label, name)
messages = []
for grader in ("math", "reasoning-gym"):
    try:
        label.get_grader(grader)
    except ImportError as error:
        messages.append(str(error))
print(json.dumps([bare, messages]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare, messages = json.loads(done.stdout)
    assert bare
    assert "eduprm-label[math]" in messages[0]
    assert "eduprm-label[reasoning-gym]" in messages[1]
