"""docs/extend.md: each block as a module outside the repository, run through an app by its name alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from eduprm.forest import leaf_paths
from eduprm.prm.published.testing import tiny_published
from eduprm.prm.testing import tiny_backbone
from eduprm_rerank.cli import main as rerank
from eduprm_train.cli import main as train

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = dict(re.findall(r"^```python (\w+)\n(.*?)^```", (ROOT / "docs/extend.md").read_text(), re.M | re.S))
NAMES = {
    "--problem.task": "my_task:Task", "--problem.grader": "my_grader:varied", "--label.rule": "my_rule:Rule",
    "--label.steps": "my_segmenter:Segmenter", "--strategies": "my_strategy:Strategy",
    "--label.filter": "my_filter:Filter",
    "--prm.calibrate": "my_calibration:Calibration", "--prm.train.curriculum": "my_curriculum:Curriculum",
}  # fmt: skip
SMALL = [
    "--problem.num-train", "4", "--problem.num-test", "2",
    "--search.budget.max-leaves", "3", "--samples.num-samples", "2",
    "--search.budget.max-tokens-per-path", "24", "--search.threshold", "0.1", "--bootstrap", "20",
    "--prm.train.last-layers", "none", "--policy.device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of apps/train with every block in it."""
    folder = tmp_path_factory.mktemp("extend")
    for name, block in BLOCKS.items():
        (folder / f"{name}.py").write_text(block)
    tiny = tiny_backbone(folder / "tiny", max_position_embeddings=512)
    recipe = folder / "recipe.toml"
    recipe.write_text(
        '[prm.train.losses]\n"my_loss:Loss" = 1.0\n[prm.train.scoring]\nkind = "head"\n'
        '[label.rule_options]\ndiscount = 0.5\n[strategy_options."my_strategy:Strategy"]\nstep = 1.5\n'
        '[label.steps_options."my_segmenter:Segmenter"]\nsize = 5\n'
    )
    chosen = [part for pair in NAMES.items() for part in pair]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        given = ["--run", str(folder / "run"), "--config", str(recipe), "--policy.model", str(tiny)]
        assert train([*given, *chosen, *SMALL]) == 0
        yield folder / "run"


def test_a_block_is_short() -> None:
    assert set(BLOCKS) == {
        "my_segmenter", "my_rule", "my_loss", "my_task", "my_grader", "my_strategy", "my_choice", "my_format",
        "my_wrapper", "my_calibration", "my_curriculum", "my_filter",
    }  # fmt: skip
    assert all(len(block.splitlines()) < 25 for block in BLOCKS.values())


def test_the_task_and_the_grader(run: Path) -> None:
    problems = pl.read_parquet(run / "problems.parquet")
    assert problems["question"].str.contains(r"^What is \d+ \+ \d+\?$").all()
    grades = pl.concat([pl.read_parquet(path) for path in (run / "grades").glob("*.parquet")])
    assert grades["correct"].any()
    assert not grades["correct"].all()


def test_the_filter(run: Path) -> None:
    labels = pl.concat([pl.read_parquet(path) for path in (run / "labels").glob("train-*.parquet")])
    judged = leaf_paths(labels).join(
        labels.filter(pl.col("kept").is_not_null()).select("problem_id", "tree", "kept", leaf="node_id"),
        on=["problem_id", "tree", "leaf"],
    )
    assert judged.height
    assert (judged["kept"] == (judged["text"].str.len_chars() <= 40)).all()


def test_the_segmenter_and_the_label_rule(run: Path) -> None:
    labels = pl.concat([pl.read_parquet(path) for path in (run / "labels").glob("train-*.parquet")])
    labelled = labels.filter(pl.col("weight") > 0)
    # Tokens are bytes: a node that does not fork ends after five characters at most.
    assert labelled["token_ids"].list.len().max() <= 5
    powers = {0.0, *(0.5**depth for depth in range(40))}
    assert set(labels["value"]) <= powers
    assert labels.filter(pl.col("parent_id").is_null())["value"].is_in([0.0, 1.0]).all()


def test_the_loss(run: Path) -> None:
    losses = json.loads((run / "training.json").read_text())["losses"]
    assert losses
    assert all(0 <= loss <= 1 for _, loss in losses)  # of a squared error of probabilities
    saved = json.loads((run / "prm" / "config.json").read_text())["eduprm"]
    assert saved["steps"]["segmenters"] == {"my_segmenter:Segmenter": {"size": 5}}


def test_the_calibration_and_the_order_of_training(run: Path) -> None:
    saved = json.loads((run / "prm" / "config.json").read_text())["eduprm"]
    share = saved["calibration"]["fitted"]["share"]
    scored = pl.concat([pl.read_parquet(path) for path in (run / "scores").glob("test-*.parquet")])
    known = scored.filter(pl.col("score").is_not_null())
    expected = (known["score_uncalibrated"] + share) / 2
    assert known["score"].to_list() == pytest.approx(expected.to_list())
    assert saved["training"]["config"]["curriculum"] == "my_curriculum:Curriculum"


def test_rerank_cuts_as_trained_and_by_name(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "abcdefghijk"
    Path("in.jsonl").write_text(
        json.dumps({"id": 1, "problem": "?", "solutions": [text], "answer": "3"}) + "\n"
    )
    for flags, size in (((), 5), (("--segment", "my_segmenter:Segmenter"), 8)):
        given = ["in.jsonl", "--prm", str(run / "prm"), "--output", "out.jsonl", "--bootstrap", "20"]
        assert rerank([*given, *flags, "--grader", "my_grader:varied"]) in (0, 3)
        row = json.loads(Path("out.jsonl").read_text())
        steps = [text[start : start + size] for start in range(0, len(text), size)]
        assert row["ranked"][0]["steps"] == steps


def test_the_strategy(run: Path) -> None:
    forest = pl.concat([pl.read_parquet(path) for path in (run / "forest").glob("*.parquet")])
    assert set(forest["tree"]) == {"warming"}
    assert json.loads((run / "metrics.json").read_text())["strategies"]["first"] == "warming"


def test_the_selection_rule(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = ["abcdefghijk", "abcdef", "abcdefghijklmnop"]
    Path("in.jsonl").write_text(json.dumps({"id": 1, "problem": "?", "solutions": texts}) + "\n")
    given = ["in.jsonl", "--prm", str(run / "prm"), "--output", "out.jsonl", "--bootstrap", "20"]
    assert rerank([*given, "--rule", "my_choice:Rule"]) == 0
    ranked = json.loads(Path("out.jsonl").read_text())["ranked"]
    assert [one["index"] for one in ranked] == [1, 0, 2]


def test_the_wrapper(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"id": 1, "problem": "?", "solutions": ["clearly\nso"]}
    Path("in.jsonl").write_text(json.dumps(row) + "\n")
    found = []
    for number, flags in enumerate(((), ("--wrap", "my_wrapper:Wrapper"))):
        given = ["in.jsonl", "--prm", str(run / "prm"), "--output", f"{number}.jsonl", "--bootstrap", "20"]
        assert rerank([*given, "--segment", "lines", *flags]) == 0
        found.append(json.loads(Path(f"{number}.jsonl").read_text())["ranked"][0]["step_scores"])
    assert found[1] == pytest.approx([found[0][0] / 2, found[0][1]])


def test_the_published_prm(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prm = tiny_published(tmp_path / "published", "label-tokens")
    row = {"id": 1, "problem": "2 * 3?", "solutions": ["2 * 3 = 6\n#### 6", "2 * 3 = 5\n#### 5"]}
    Path("in.jsonl").write_text(json.dumps(row) + "\n")
    marks = ["--marks.tag", "<step>", "--marks.good", "<yes>", "--marks.bad", "<no>", "--marks.first", ""]
    named = ["--format", "label-tokens", *marks, "--marks.prompt", "Q: {problem}\n"]
    ranked = []
    for number, flags in enumerate((named, ["--format", "my_format:Format"])):
        given = ["in.jsonl", "--prm", str(prm), "--output", f"{number}.jsonl", "--bootstrap", "20"]
        assert rerank([*given, *flags]) == 0
        ranked.append(json.loads(Path(f"{number}.jsonl").read_text())["ranked"])
    assert ranked[0] == ranked[1]
