"""Losses with their scorers, a label rule and weights of questions through apps/train, by name alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from eduprm.forest import leaf_paths
from eduprm.policy import PRM_MODEL
from eduprm.prm import ProcessRewardModel
from eduprm_train.cli import main as train

SMALL = [
    "--problem.num-test", "2", "--search.budget.max-leaves", "3", "--label.rule", "epic",
]  # fmt: skip


@pytest.fixture(scope="module")
def labelled(labelled_run):
    """A run with labels and no PRM, and the flags that made it."""
    return labelled_run(*SMALL)


def test_epic_labels_are_hard(labelled) -> None:
    run, _ = labelled
    labels = pl.concat([pl.read_parquet(path) for path in (run / "labels").glob("train-*.parquet")])
    assert set(labels["value"]) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("name", "scorer"),
    [*((name, name) for name in ("implicit", "bidirectional", "nce_plus")), ("cross_entropy", "step_head")],
)
def test_a_loss_by_name_gives_a_prm_that_scores(
    labelled, tmp_path: Path, capsys, name: str, scorer: str
) -> None:
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    chosen = ["--prm.train.losses", json.dumps({name: 1.0}), "--prm.train.scoring.kind", scorer]
    assert train(["--run", str(run), *flags, *chosen]) == 0
    count, records = re.search(r"means of (\d+) of (\d+) records", "".join(capsys.readouterr())).groups()
    assert int(count) <= max(1, int(records) // 2)  # the loss at first and at last are of other records
    assert (run / "report.html").is_file()
    scored = pl.concat([pl.read_parquet(path) for path in (run / "scores").glob("test-*.parquet")])
    scores = scored.filter(pl.col("token_ids").list.len() > 0)["score"]
    assert scores.null_count() == 0
    assert scores.is_between(0, 1).all()
    assert scores.n_unique() > 2
    prm = ProcessRewardModel.from_pretrained(run / "prm")
    assert len(prm.score("1 + 2?", ["1 + 2 = 3\n", "#### 3"])) == 2


def test_a_filter_of_solutions_by_name(labelled, tmp_path: Path, monkeypatch, capsys) -> None:
    """Solutions whose text holds an even number of characters are left out, of training questions only."""
    (tmp_path / "a_filter.py").write_text(
        "import numpy as np\nfrom eduprm.forest import leaf_paths\n\n\nclass Filter:\n"
        "    def keeps(self, labelled):\n"
        "        keys = ['problem_id', 'tree']\n"
        "        paths = leaf_paths(labelled).select(*keys, 'text', node_id='leaf')\n"
        "        found = labelled.select(*keys, 'node_id').join(\n"
        "            paths, on=[*keys, 'node_id'], how='left', maintain_order='left')\n"
        "        return (found['text'].fill_null('').str.len_chars() % 2 == 1).to_numpy()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    again = ["--run", str(run), *flags, "--rerun", "label", "--only", "label", "prm", "--label.filter"]
    assert train([*again, "a_filter:Filter"]) == 0
    learned = pl.concat([pl.read_parquet(path) for path in sorted((run / "labels").glob("train-*.parquet"))])
    kept = learned.filter(pl.col("kept").is_not_null())
    left = kept.filter(~pl.col("kept")).height
    assert 0 < left < kept.height
    said = "".join(capsys.readouterr())
    assert f"label: {left} of {kept.height} training solutions are left out by the filter" in said
    assert (kept["weight"] > 0).to_list() == kept["kept"].to_list()
    assert all("kept" not in pl.read_parquet_schema(path) for path in (run / "labels").glob("test-*.parquet"))
    # Random weights write no equation, so a judge of equations agrees with the values where an answer is right.
    assert train([*again, "consensus"]) == 0
    learned = pl.concat([pl.read_parquet(path) for path in sorted((run / "labels").glob("train-*.parquet"))])
    rows = learned.filter(pl.col("kept").is_not_null())
    assert (rows["value"] == 1).to_list() == rows["kept"].to_list()


@pytest.mark.parametrize("name", [PRM_MODEL, "judge"])
def test_a_filter_with_a_judge_by_name(labelled, tmp_path: Path, capsys, name: str) -> None:
    """The PRM that ships, and a language model of random weights that reads bytes."""
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    (tmp_path / "critique.txt").write_text("{problem}\n{step}\n")
    (tmp_path / "verdict.txt").write_text("?")
    judge = {"model": flags[-1], "prompts": str(tmp_path), "samples": 1, "max_tokens": 2, "least": 0}
    options = json.dumps({"judge": "scores", "judge_options": {"threshold": 0.4}})
    asked = ["--run", str(run), *flags, "--only", "label", "--label.filter", "consensus"]
    chosen = ["--label.filter-options", options, "--label.judge-prm", name]
    chosen += ["--label.judge", json.dumps(judge)] if name == "judge" else []
    assert train([*asked, *chosen, "--rerun", "label"]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    learned = pl.concat([pl.read_parquet(path) for path in sorted((run / "labels").glob("train-*.parquet"))])
    scores = learned["judge_score"].drop_nulls()
    assert scores.is_between(0, 1).all()
    assert scores.n_unique() > 2
    rows = learned.filter(pl.col("kept").is_not_null())
    kept = rows.filter("kept")
    assert kept["judge_score"].null_count() == 0
    # What is kept has a step below the threshold where its answer is wrong, and only there.
    keys = ["problem_id", "tree", "node_id"]
    paths = leaf_paths(learned).select("problem_id", "tree", "leaf", node_id="path").explode("node_id")
    least = (
        paths.join(learned.select(*keys, "judge_score"), on=keys).group_by("problem_id", "tree", "leaf").min()
    )
    ends = kept.join(least, left_on=keys, right_on=["problem_id", "tree", "leaf"], suffix="_least")
    assert (ends["judge_score_least"] < 0.4).to_list() == (ends["value"] == 0).to_list()
    left, mute = rows.height - kept.height, rows["judge_score"].null_count()
    assert f"label: {left} of {rows.height} training solutions are left out by the filter" in said
    assert f"label: the judge could not score {mute} of them" in said
    assert json.loads((run / "stages" / "label.json").read_text())["unjudged_solutions"] == mute
    assert all("kept" not in pl.read_parquet_schema(path) for path in (run / "labels").glob("test-*.parquet"))
    assert train(asked) == 2
    assert "label.judge_prm was" in " ".join(capsys.readouterr().err.split())


def test_a_judge_that_is_not_there_is_said_before_anything_is_grown(tmp_path: Path, capsys) -> None:
    chosen = ["--run", str(tmp_path / "run"), "--label.filter", "consensus"]
    chosen += ["--label.filter-options", '{"judge": "scores"}']
    assert train([*chosen, "--label.judge-prm", str(tmp_path / "none")]) == 2
    assert "--label.judge-prm" in capsys.readouterr().err
    assert not (tmp_path / "run" / "problems.parquet").exists()
    assert train(chosen) == 2
    assert "expected the PRM whose scores judge" in " ".join(capsys.readouterr().err.split())


def test_weights_of_questions_by_name(
    labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The first question weighs 0 and is left out, the others 3; held-out questions keep their weights."""
    (tmp_path / "a_weight.py").write_text(
        "import polars as pl\n\n\nclass Weights:\n    def of(self, graded):\n"
        "        ids = graded.select(pl.col('problem_id').unique().sort())\n"
        "        return ids.with_columns(weight=pl.when(pl.int_range(pl.len()) > 0).then(3.0).otherwise(0.0))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made, flags = labelled
    run = shutil.copytree(made, tmp_path / "run")
    chosen = ["--rerun", "label", "--only", "label", "prm", "--label.weights", "a_weight:Weights"]
    assert train(["--run", str(run), *flags, *chosen]) == 0
    assert "prm: 1 of 6 questions weigh 0 by a_weight:Weights and are left out" in "".join(
        capsys.readouterr()
    )
    assert json.loads((run / "training.json").read_text())["data"]["trees"] == 5
    for split, factors in (("train", {0.0, 3.0}), ("test", {1.0})):
        before, after = (
            pl.concat(
                [pl.read_parquet(path) for path in sorted((root / "labels").glob(f"{split}-*.parquet"))]
            )
            for root in (made, run)
        )
        ratio = (after["weight"] / before["weight"]).filter(before["weight"] > 0)
        assert set(ratio) == factors
