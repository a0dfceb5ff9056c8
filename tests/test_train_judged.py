"""apps/train with a filter whose judge is a PRM, by name: the one that ships, and a language model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from eduprm.search import PRM_MODEL
from eduprm_train.cli import main as train

SMALL = ["--problem.num-test", "2", "--search.budget.max-leaves", "2"]
ASKED = ["--label.filter", "consensus", "--label.filter-options"]
LITTLE = ["--label.judge.samples", "1", "--label.judge.max-tokens", "2", "--label.judge.least", "0"]


@pytest.fixture(scope="module")
def labelled(labelled_run):
    return labelled_run(*SMALL)


@pytest.mark.parametrize("name", [PRM_MODEL, "judge"])
def test_a_judge_by_name(labelled, tmp_path: Path, capsys, name: str) -> None:
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    options = json.dumps({"judge": "scores", "judge_options": {"threshold": 0.4}})
    chosen = [*ASKED, options, "--label.judge-prm", name, *(LITTLE if name == "judge" else [])]
    again = ["--run", str(run), *flags, "--rerun", "label", "--only", "label", *chosen]
    assert train(again) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    learned = pl.concat([pl.read_parquet(path) for path in sorted((run / "labels").glob("train-*.parquet"))])
    rows = learned.filter(pl.col("kept").is_not_null())
    scores = learned["judge_score"].drop_nulls()
    assert scores.is_between(0, 1).all()
    assert scores.n_unique() > 2
    # A solution is kept only where its end is scored as its answer is graded.
    kept = rows.filter("kept")
    assert kept["judge_score"].null_count() == 0
    assert (kept["judge_score"] >= 0.4).to_list() == (kept["value"] > 0).to_list() or name == PRM_MODEL
    left, mute = rows.height - kept.height, rows["judge_score"].null_count()
    assert f"label: {left} of {rows.height} training solutions are left out by the filter" in said
    assert f"label: the judge could not score {mute} of them" in said
    assert json.loads((run / "stages" / "label.json").read_text())["unjudged_solutions"] == mute
    assert all("kept" not in pl.read_parquet_schema(path) for path in (run / "labels").glob("test-*.parquet"))
    assert train(["--run", str(run), *flags, "--only", "label", *ASKED, '{"judge": "equations"}']) == 2
    assert "label.judge_prm was" in " ".join(capsys.readouterr().err.split())


def test_a_judge_that_is_not_there_is_said_before_anything_is_grown(tmp_path: Path, capsys) -> None:
    chosen = [*ASKED, '{"judge": "scores"}', "--label.judge-prm", str(tmp_path / "none")]
    assert train(["--run", str(tmp_path / "run"), *chosen]) == 2
    said = capsys.readouterr().err
    assert "--label.judge-prm" in said
    assert not (tmp_path / "run" / "problems.parquet").exists()
    assert train(["--run", str(tmp_path / "run"), *ASKED, '{"judge": "scores"}']) == 2
    assert "expected the PRM whose scores judge" in " ".join(capsys.readouterr().err.split())
