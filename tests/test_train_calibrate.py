"""Settings of the training that stand beside its losses, through apps/train by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from eduprm.pipeline.calibrating import RAW, held_back
from eduprm.prm import ProcessRewardModel
from eduprm_train.cli import main as train

SMALL = [
    "--problem.num-test", "3", "--search.budget.max-leaves", "4",
    "--prm.train.losses", '{"cross_entropy": 1.0}', "--prm.train.scoring.kind", "head",
]  # fmt: skip


@pytest.fixture(scope="module")
def labelled(labelled_run):
    """A run with labels and no PRM, and the flags that made it."""
    return labelled_run(*SMALL)


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_a_calibration_by_name_is_fitted_kept_and_reported(
    labelled, tmp_path: Path, kind: str, capsys
) -> None:
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    assert train(["--run", str(run), *flags, "--prm.calibrate", kind, "--prm.calibrate-share", "0.4"]) == 0
    said = capsys.readouterr()
    assert "of 2 training questions that were kept out of training" in said.err + said.out
    assert "Calibration, held-out steps against how they end: Brier score" in said.out
    names = {
        tree for path in (run / "labels").glob("train-*") for tree in pl.read_parquet(path)["problem_id"]
    }
    held, saved = held_back(names, 0.4), json.loads((run / "prm" / "config.json").read_text())["eduprm"]
    assert len(held) == 2
    assert saved["calibration"]["kind"] == kind
    assert saved["training"]["data"]["trees"] == 4  # of 6
    scored = pl.concat([pl.read_parquet(path) for path in (run / "scores").glob("test-*.parquet")])
    prm = ProcessRewardModel.from_pretrained(run / "prm", "cpu")
    again = prm.score_forest(scored.drop("score", RAW), pl.read_parquet(run / "problems.parquet"))
    assert again["score"].to_list() == pytest.approx(scored["score"].to_list(), nan_ok=True)
    found = json.loads((run / "metrics.json").read_text())["calibration"]
    assert {row["metric"] for row in found["after"]} >= {"brier", "ece", "smooth_ece"}
    assert found["before"] != found["after"]
    auc = [
        next(row["value"] for row in found[when] if row["metric"] == "auc") for when in ("before", "after")
    ]
    assert auc[0] == pytest.approx(auc[1])
    assert "before calibration" in (run / "report.html").read_text()


def test_no_calibration_trains_on_all_and_says_nothing(labelled, tmp_path: Path) -> None:
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    assert train(["--run", str(run), *flags]) == 0
    saved = json.loads((run / "prm" / "config.json").read_text())["eduprm"]
    assert saved["training"]["data"]["trees"] == 6
    assert "calibration" not in saved
    assert json.loads((run / "metrics.json").read_text())["calibration"] is None


def test_a_wrong_name_is_said_before_anything_is_computed(capsys) -> None:
    assert train(["--prm.calibrate", "platt"]) == 2
    assert "expected one of isotonic, none, temperature" in capsys.readouterr().err


def test_a_curriculum_by_name_decides_what_is_trained_on(labelled, tmp_path: Path, capsys) -> None:
    made, flags = labelled
    first = shutil.copytree(made, tmp_path / "first")
    assert train(["--run", str(first), *flags, "--only", "prm"]) == 0
    run = shutil.copytree(made, tmp_path / "run")
    chosen = [
        "--prm.train.curriculum",
        "frozen_prm",
        "--prm.train.curriculum-options",
        json.dumps({"prm": str(first / "prm")}),
    ]
    assert train(["--run", str(run), *flags, "--only", "prm", *chosen]) == 0
    saved = json.loads((run / "prm" / "config.json").read_text())["eduprm"]["training"]
    assert saved["config"]["curriculum"] == "frozen_prm"
    weights = [(folder / "prm" / "model.safetensors").read_bytes() for folder in (first, run)]
    assert weights[0] != weights[1]
    # A run of before there was a choice goes on: no setting of it changed.
    assert train(["--run", str(first), *flags, "--only", "prm"]) == 0
    assert "done before" in capsys.readouterr().err
    assert train(["--run", str(run), *flags, "--only", "prm"]) == 2
    said = capsys.readouterr().err
    assert "made with other settings" in said
    assert "curriculum_options" in said
