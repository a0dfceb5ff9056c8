"""apps/rerank on solutions as programs write them: stop tokens' texts, equal formulas in votes."""

import json

import pytest

from eduprm.rank.testing import read_jsonl, rejected, write_jsonl


def test_stop_tokens_are_no_part_of_a_solution_and_reported_once(rerank, tmp_path):
    texts = [
        "3*4=12\n#### 14<|im_end|>",
        "12+2\n#### 14\n</s>",
        "#### 14",
        "The answer is 14.<|eot_id|>",
        "<|im_end|>",
    ]
    rows = [{"id": i, "problem": "3*4+2?", "answer": "14", "solutions": texts} for i in range(3)]
    write_jsonl(tmp_path / "in.jsonl", rows)
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl", "--chunk-solutions", 4)
    assert status == 3
    assert err.count("stop tokens") == 1
    assert "(</s>, <|eot_id|>, <|im_end|>) was taken off the end of 9 solutions" in err
    assert [(row, index) for row, _, index, _ in rejected(tmp_path / "out.jsonl.rejected.jsonl")] == [
        (1, 4),
        (2, 4),
        (3, 4),
    ]
    for row, back in zip(rows, read_jsonl(tmp_path / "out.jsonl"), strict=True):
        assert back["solutions"] == row["solutions"]
        assert {(one["final_answer"], one["correct"]) for one in back["ranked"]} == {("14", True)}
        assert not any("<|" in step or "</s>" in step for one in back["ranked"] for step in one["steps"])
    assert json.loads((tmp_path / "out.jsonl.report.json").read_text())["stop_tokens"] == 9


@pytest.mark.parametrize("gold", [{"answer": r"\frac{\pi}{2}"}, {}])
def test_equal_formulas_vote_together_with_and_without_gold(rerank, tmp_path, gold):
    pytest.importorskip("math_verify")
    texts = [
        rf"so \boxed{{{answer}}}" for answer in ("3", "3", r"\frac{\pi}{2}", r"\dfrac{\pi}{2}", r"\pi/2")
    ]
    write_jsonl(tmp_path / "in.jsonl", [{"id": "v", "problem": "arccos 0?", "solutions": texts, **gold}])
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl", "--grader", "math", "--rule", "majority")
    assert (status, err) == (0, "")
    (row,) = read_jsonl(tmp_path / "out.jsonl")
    assert [one["final_answer"] for one in row["ranked"]] == [r"\frac{\pi}{2}"] * 3 + ["3"] * 2


def test_a_graders_class_of_ones_own_takes_options(rerank, tmp_path, monkeypatch):
    code = """
class Grader:
    name = "near"
    def __init__(self, within=0):
        self.within = within
    def grade(self, text, problem):
        return abs(int(text.split()[-1]) - int(problem["answer"])) <= self.within
"""
    (tmp_path / "own_near_grader.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    write_jsonl(
        tmp_path / "in.jsonl",
        [{"id": "v", "problem": "3*4?", "answer": "12", "solutions": ["it is 12", "it is 14"]}],
    )
    grader = ["--grader", "own_near_grader:Grader"]
    for options, right in (([], {True, False}), (["--grader-options", "within=2"], {True})):
        assert rerank("in.jsonl", "--output", "out.jsonl", *grader, *options)[0] == 0
        (row,) = read_jsonl(tmp_path / "out.jsonl")
        assert {one["correct"] for one in row["ranked"]} == right
