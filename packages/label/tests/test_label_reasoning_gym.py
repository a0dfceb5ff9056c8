"""reasoning-gym's scorers: every data set's own answers are right, and answers can run no code."""

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from eduprm.label import (
    DATASETS_WITHOUT_GOLD,
    ReasoningGymGrader,
    check_gold,
    grade_frame,
    reasoning_gym_problems,
)
from eduprm.label._gym_check import is_arithmetic
from eduprm.label.integers import integer_value

reasoning_gym = pytest.importorskip("reasoning_gym")


@pytest.fixture(scope="module")
def gym_grader():
    with ReasoningGymGrader(timeout_s=20.0) as grader:
        yield grader


def test_reasoning_gym_scores_its_own_items(gym_grader: ReasoningGymGrader) -> None:
    sets = {"products": {"min_terms": 2, "max_terms": 4, "max_digits": 1}, "chain_sum": {}, "countdown": {}}
    sets |= {"spiral_matrix": {}, "simple_integration": {}, "fraction_simplification": {}}
    for name, options in sets.items():
        items = list(reasoning_gym.create_dataset(name, size=8, seed=3, **options))
        problems = reasoning_gym_problems(name, items, split="test")
        assert check_gold(problems, gym_grader).height == 0, name
        wrong = grade_frame(problems.select("problem_id", text=pl.lit("#### 9999999")), problems, gym_grader)
        assert not wrong["correct"].any(), name


@pytest.mark.parametrize(
    "name", ["spiral_matrix", "string_insertion", "countdown", "n_queens", "simple_integration"]
)
def test_scorers_run_no_code_of_the_answer(gym_grader: ReasoningGymGrader, tmp_path: Path, name: str) -> None:
    items = list(reasoning_gym.create_dataset(name, size=1, seed=5))
    problem = reasoning_gym_problems(name, items, split="test").row(0, named=True)
    target = tmp_path / "written"
    for attack in (f"open({str(target)!r}, 'w')", f"[__import__('os').system('touch {target}')]"):
        assert not gym_grader.grade_answer(attack, problem)
    assert not target.exists()


def test_arithmetic_gate() -> None:
    assert is_arithmetic("3*x**2/2 + sin(x) + C")
    for text in (
        "().__class__",
        "x.y",
        "open(1)",
        "'a'",
        "[1]",
        "lambda: 1",
        "x;y",
        "a__b",
        None,
        "(" * 1000 + "'",
    ):
        assert not is_arithmetic(text), text


EXCLUDED = {
    "composite": "mixes other data sets and has no items without being told which; grade by their own names"
}
"""Registered data sets that the test below leaves out, and why."""


@pytest.mark.slow
def test_the_gold_answers_of_every_registered_data_set_are_right(gym_grader: ReasoningGymGrader) -> None:
    from reasoning_gym.factory import DATASETS

    frames = [
        reasoning_gym_problems(name, reasoning_gym.create_dataset(name, size=2, seed=3), split="test")
        for name in sorted(DATASETS.keys() - EXCLUDED.keys())
    ]
    problems = pl.concat(frames)
    assert problems["source"].n_unique() == len(DATASETS) - len(EXCLUDED) > 90
    without = problems.filter(pl.col("answer").is_null())
    names = without["source"].str.strip_prefix("reasoning_gym:").unique()
    assert set(names) == DATASETS_WITHOUT_GOLD
    assert check_gold(problems, gym_grader).rows() == []
    shifted = problems.drop_nulls("answer").with_columns(gold=pl.col("answer").shift(7, fill_value="nothing"))
    texts = shifted.select("problem_id", text="#### " + pl.col("gold"))
    assert grade_frame(texts, problems, gym_grader)["correct"].mean() < 0.1
    counts = gym_grader.counts
    assert (counts.timeouts, counts.out_of_memory, counts.crashes, counts.refused) == (0, 0, 0, 0)


def test_items_without_a_gold_answer_are_scored_by_their_metadata(gym_grader: ReasoningGymGrader) -> None:
    right = {
        "propositional_logic": lambda kept: kept["example_answer"],
        "rubiks_cube": lambda kept: kept["example_correct_answer"],
        "graph_color": lambda kept: json.dumps(kept["possible_answer"], indent=1),
    }
    for name, answer_of in right.items():
        items = list(reasoning_gym.create_dataset(name, size=3, seed=5))
        problems = reasoning_gym_problems(name, items, split="test")
        assert problems["answer"].null_count() == 3
        texts = ["so I say\n#### " + answer_of(item["metadata"]) for item in items]
        graded = grade_frame(problems.select("problem_id", text=pl.Series(texts)), problems, gym_grader)
        assert graded["correct"].all(), name
        assert not grade_frame(graded.with_columns(text=pl.lit("#### x")), problems, gym_grader)[
            "correct"
        ].any()


def test_a_missing_gold_answer_that_is_needed_is_named(gym_grader: ReasoningGymGrader) -> None:
    items = [{**item, "answer": None} for item in reasoning_gym.create_dataset("gcd", size=1, seed=5)]
    problems = reasoning_gym_problems("gcd", items, split="test")
    assert check_gold(problems, gym_grader).height == 1
    with pytest.raises(ValueError, match="expected a gold answer for problem 'gcd-"):
        gym_grader.grade("#### 3", problems.row(0, named=True))


def test_an_answer_of_many_lines_is_taken_whole_and_one_of_one_line_is_not(
    gym_grader: ReasoningGymGrader,
) -> None:
    def problem(gold: str | None, source: str = "sudoku") -> dict:
        return {"problem_id": "p", "question": "?", "answer": gold, "source": f"reasoning_gym:{source}"}

    text = "#### 3\nno, rather\n#### 1 2\n2 1\n"
    assert gym_grader.extract(text, problem("1 2\n2 1")) == "1 2\n2 1"
    assert gym_grader.extract(text, problem(None, "rush_hour")) == "1 2\n2 1"
    assert gym_grader.extract(text, problem("12")) == "1 2"
    assert gym_grader.extract("7 it is", problem("7")) == "7"
    assert gym_grader.extract("7 it is", problem("7\n8")) is None
    assert gym_grader.grade("#### **east**.\nBye", problem("east", "string_manipulation"))
    stop = problem("It ends here.", "sentence_reordering")
    assert gym_grader.grade("#### It ends here.", stop)
    assert not gym_grader.grade("#### It ends here", stop)


def test_scorers_get_the_settings_of_their_data_set(gym_grader: ReasoningGymGrader) -> None:
    config = {"max_num_decimal_places": 6, "precision": 12}  # the scorer allows one unit of the last place
    item = reasoning_gym.create_dataset("decimal_arithmetic", size=1, seed=5, **config)[0]
    near = str(Decimal(item["answer"]) + Decimal("0.0005"))
    for settings, right in ((config, False), (None, True)):
        problems = reasoning_gym_problems("decimal_arithmetic", [item], split="test", config=settings)
        assert check_gold(problems, gym_grader).height == 0
        assert gym_grader.grade_answer(near, problems.row(0, named=True)) is right


def test_bitwise_problems_are_evaluated_within_bounds() -> None:
    for difficulty in (1, 4, 10):
        for item in reasoning_gym.create_dataset("bitwise_arithmetic", size=5, seed=2, difficulty=difficulty):
            assert hex(integer_value(item["metadata"]["problem"])) == item["answer"]
    for attack in (
        "9**9**9",
        "1 << 10**9",
        "1 << 99999999",
        "__import__('os')",
        "True",
        "1.5",
        "(" * 9000,
        "1 if 1 else 2",
    ):
        with pytest.raises(ValueError, match="expected"):
            integer_value(attack)
