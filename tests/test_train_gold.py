"""Gold answers that the grader does not take: their problems are left out of labels, and it is said."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from eduprm.prm.testing import tiny_backbone
from eduprm.problems.making import part_of
from eduprm_train.cli import main

SMALL = [
    "--policy.device", "cpu", "--problem.style", "zero_shot", "--shard-problems", "1",
    "--search.budget.max-leaves", "3", "--bootstrap", "20",
    "--search.budget.max-tokens-per-path", "8", "--search.threshold", "4.0", "--strategies", "edu", "greedy",
    "--prm.train.losses", "cross_entropy=1", "--prm.train.scoring.kind", "head", "--prm.train.last-layers", "1",
]  # fmt: skip


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Run apps/train on problems with these gold answers, the same in both parts."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_backbone(tmp_path / "tiny", max_position_embeddings=512)
    questions = {
        part: [text for n in range(2, 40) if part_of(text := f"What is {n} + {n}?") == part][:2]
        for part in ("train", "test")
    }

    def run(golds: list[str], *arguments: str, expect: int = 0) -> str:
        rows = [
            {"question": question, "answer": gold}
            for part in ("train", "test")
            for question, gold in zip(questions[part], golds, strict=True)
        ]
        file = tmp_path / "mine.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = [
            "--run",
            str(tmp_path / "run"),
            "--problems",
            str(file),
            "--policy.model",
            str(tmp_path / "tiny"),
        ]
        assert main([*given, *SMALL, *arguments]) == expect
        return " ".join("".join(capfd.readouterr()).split())

    return run


def ids(folder: Path) -> set[str]:
    found = [pl.read_parquet(path, columns=["problem_id"]) for path in folder.glob("*.parquet")]
    return set(pl.concat(found)["problem_id"])


def test_problems_whose_gold_answer_the_grader_does_not_take_are_left_out(train, tmp_path: Path) -> None:
    golds = ["4", "x+1"]
    said = train(golds, "--only", "problems", "search", "label")
    run = tmp_path / "run"
    problems = pl.read_parquet(run / "problems.parquet")
    wrong = problems.filter(answer="x+1")
    assert "label: 2 of 4 problems are left out, since number does not take their gold answers" in said
    assert f"the first is 'x+1' of problem {wrong['problem_id'][0]}" in said
    assert "--problem.grader math, with --rerun label" in said
    listed = [json.loads(line) for line in (run / "rejected/label.jsonl").read_text().splitlines()]
    assert [row["problem_id"] for row in listed] == wrong["problem_id"].to_list()
    right = set(problems["problem_id"]) - set(wrong["problem_id"])
    assert ids(run / "labels") == ids(run / "grades") == right
    # Shards in which nothing is left are no hindrance for what follows, nor for a start that goes on.
    next((run / "labels").glob("test-*")).unlink()
    record = json.loads((run / "stages/label.json").read_text())
    (run / "stages/label.json").write_text(json.dumps(record | {"done": False}))
    train(golds)
    assert ids(run / "labels") == right
    assert ids(run / "scores") == right & set(problems.filter(split="test")["problem_id"])
    assert json.loads((run / "metrics.json").read_text())["stages"]["label"]["problems_left_out"] == 2
    assert "2 problems left out" in (run / "report.html").read_text()
    solutions = (run / "solutions.jsonl").read_text().splitlines()
    assert {json.loads(line)["answer"] for line in solutions} == {"4"}
    # Another grader takes them, and keeps the trees.
    train(golds, "--problem.grader", "math", "--rerun", "label", "--only", "label")
    assert ids(run / "labels") == set(problems["problem_id"])
    assert not (run / "rejected/label.jsonl").exists()


def test_gold_answers_of_which_the_grader_takes_none_stop_the_run_in_a_line(train, tmp_path: Path) -> None:
    said = train(["x+1", "(1,2)"], expect=2)
    assert (
        "number does not take the gold answer of any of the 2 problems to train on, the first is 'x+1'"
        in said
    )
    assert "--problem.grader math" in said
    assert not (tmp_path / "run/forest").exists()
