"""The main job for real, small: the real model, real grading, a PRM trained and then used; killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from eduprm.forest import leaf_paths
from eduprm.problems.making import part_of

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "--problem.num-train", "6", "--problem.num-test", "4", "--shard-problems", "2", "--search.budget.max-leaves", "4",
    "--search.budget.max-tokens-per-path", "96", "--samples.num-samples", "4", "--prm.train.epochs", "1",
    "--bootstrap", "200",
]  # fmt: skip

pytestmark = pytest.mark.slow


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def train(run: Path, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "apps/train", "--run", str(run), *SMALL, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=1200, env=environment(),
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done


def files(run: Path, *folders: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(run)): path.read_bytes()
        for folder in folders
        for path in sorted((run / folder).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, train(run, "--rounds", "2").stdout


def test_the_run_folder_holds_what_is_promised(finished):
    run, _ = finished
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["search"]["threshold"] == 0.1
    assert config["versions"]["torch"]
    assert config["hardware"]["cores"] >= 1
    problems = pl.read_parquet(run / "problems.parquet")
    train_questions, test_questions = (set(problems.filter(split=s)["question"]) for s in ("train", "test"))
    assert (len(train_questions), len(test_questions)) == (6, 4)
    assert not train_questions & test_questions
    drawn = {path.stem: path.read_text() for path in (run / "figures").glob("*")}
    assert {
        "held-out-accuracy-against-tokens-decoded", "entropy-of-the-tokens-training-trees",
        "labels-of-the-training-nodes", "training-of-the-prm",
    } <= set(drawn)  # fmt: skip
    assert all(text.startswith("<svg xmlns") for text in drawn.values())
    assert sorted(p.name for p in (run / "forest").glob("*")) == [
        "test-00000.parquet", "test-00001.parquet", "train-00000.parquet", "train-00001.parquet",
        "train-00002.parquet",
    ]  # fmt: skip


def test_a_second_round_is_grown_by_the_model_that_the_first_one_trained(finished):
    run, _ = finished
    second = run / "round-2"
    record = json.loads((second / "stages" / "search.json").read_text())
    assert record["settings"]["policy.model"] == str(run / "prm")
    assert pl.read_parquet(second / "problems.parquet").equals(pl.read_parquet(run / "problems.parquet"))
    assert (second / "report.html").is_file()
    assert (second / "prm" / "model.safetensors").read_bytes() != (
        run / "prm" / "model.safetensors"
    ).read_bytes()
    # Its policy's greedy answers are those that the first round's model gave as a policy.
    own = (
        pl.read_parquet(run / "scores" / "greedy-by-prm.parquet")
        .select("problem_id", "text")
        .sort("problem_id")
    )
    forest = pl.read_parquet(second / "forest" / "test-*.parquet").filter(tree="greedy")
    assert leaf_paths(forest).select("problem_id", "text").sort("problem_id").equals(own)


def test_the_metrics_agree_with_the_files(finished):
    run, _ = finished
    metrics = json.loads((run / "metrics.json").read_text())
    grades = pl.concat([pl.read_parquet(path) for path in sorted((run / "grades").glob("test-*"))])
    best = (
        grades.group_by("tree", "problem_id")
        .agg(pl.col("correct").any())
        .group_by("tree")
        .agg(pl.mean("correct"))
    )
    pass_at = dict(best.iter_rows())
    oracle = {
        row["method"]: row["accuracy"]
        for row in metrics["rules"]
        if row["rule"] == "oracle" and row["n"] == 4
    }
    assert oracle["EDU"] == pytest.approx(pass_at["edu"])
    assert oracle["samples T=0.7"] == pytest.approx(pass_at["samples-0.7"])
    forest = pl.concat([pl.read_parquet(path) for path in sorted((run / "forest").glob("test-*"))])
    decoded = forest.filter(tree="edu")["token_ids"].list.len().sum() / 4
    shown = {row["method"]: row["decoded"] for row in metrics["rules"] if row["n"] == 4}
    assert shown["EDU"] == pytest.approx(decoded)
    rules = {row["rule"] for row in metrics["rules"] if row["method"] == "EDU"}
    assert {
        "greedy",
        "majority",
        "weighted_majority_probability",
        "prm_min",
        "prm_product",
        "oracle",
    } <= rules
    # By likelihood the last score says nothing of the steps before it.
    assert metrics["solution_score"] == "min"
    assert not [name for name in rules if "prm_last" in name]


def test_the_page_shows_every_tree_and_the_choices(finished):
    run, _ = finished
    text = (run / "report.html").read_text(encoding="utf-8")
    page = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    held_out = [entry for entry in page["list"] if "held-out" in entry[5]]
    assert (len(page["list"]), len(held_out)) == (10, 4)
    scores = pl.concat([pl.read_parquet(path) for path in sorted((run / "scores").glob("test-*"))])
    metrics = json.loads((run / "metrics.json").read_text())
    accuracy = {
        row["rule"]: row["accuracy"] for row in metrics["rules"] if row["method"] == "EDU" and row["n"] == 4
    }
    right = 0
    for entry, record in zip(page["list"], page["records"], strict=True):
        if entry not in held_out:
            assert [tree["name"] for tree in record["trees"]] == ["edu"]
            continue
        tree = record["trees"][0]
        rows = scores.filter(problem_id=entry[0], tree="edu")
        # Token by token the same text, not only the fragment's.
        assert ["".join(flat[::2]) for flat in tree["tokens"]] == rows["text"].to_list()
        assert [len(flat) // 2 for flat in tree["tokens"]] == rows["token_ids"].list.len().to_list()
        assert tree["score"] == pytest.approx(rows["score"].to_list(), abs=1e-3, nan_ok=True)
        assert {tree["name"] for tree in record["trees"]} == {"edu", "samples-0.7", "greedy"}
        right += tree["answers"][str(tree["chosen"]["prm_min"])][1]
        assert entry[4] == ("right" if tree["answers"][str(tree["chosen"]["prm_min"])][1] else "wrong")
    assert accuracy["prm_min"] == pytest.approx(right / 4)


def test_the_closing_table_and_command(finished):
    run, shown = finished
    for word in ("oracle", "greedy", "majority, plain", "majority by probability", "=tokens", "PRM min"):
        assert word in shown
    command = next(
        line.strip() for line in shown.splitlines() if line.strip().startswith("uv run apps/rerank")
    )
    done = subprocess.run(
        [sys.executable, *command.split()[2:], "--output", str(run / "ranked.jsonl")],
        cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # The PRM itself says how its steps were cut.
    said = " ".join((done.stdout + done.stderr).split())
    assert "steps end where smollm2-135m-steps is unsure (above 0.1 nats)" in said
    rows = [json.loads(line) for line in (run / "ranked.jsonl").read_text().splitlines()]
    assert len(rows) == 4


def test_the_prm_is_an_ordinary_checkpoint(finished):
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(finished[0] / "prm", output_loading_info=True)
    assert model.config.eduprm["scoring"] == {"kind": "likelihood", "fold": "min"}
    assert not info["missing_keys"]
    assert (finished[0] / "prm" / "adapter" / "adapter_model.safetensors").is_file()
    assert list((finished[0] / "prm").glob("*.safetensors"))
    assert not list((finished[0] / "prm").rglob("*.bin"))


def test_a_second_start_computes_nothing(finished):
    run, _ = finished
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    done = train(run)
    assert "report: done before" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")} == before


def test_other_settings_are_refused_by_name_and_one_stage_can_be_done_again(finished):
    run, _ = finished
    refused = train(run, "--label.target", "hard", expect=2)
    assert "label.target was 'soft', is now 'hard'" in refused.stderr
    assert "--rerun label" in refused.stderr
    before = files(run, "forest", "labels", "metrics.json")
    redone = train(run, "--rerun", "label", "--only", "label")
    assert "search" not in redone.stderr
    assert files(run, "forest", "labels", "metrics.json") == before
    missing = train(run, "--only", "report", expect=2)
    assert "'report' needs prm, score first" in missing.stderr
    train(run)
    assert (run / "metrics.json").is_file()


def test_killed_at_any_moment_it_ends_with_the_same_bytes(finished, tmp_path):
    run = tmp_path / "killed"
    stages = ["--only", "problems", "--only", "search", "--only", "label"]
    command = [sys.executable, "apps/train", "--run", str(run), *SMALL, *stages]
    kills, written = 0, {}
    # Killed right after the first shard, in the middle of later ones, and while labels are written.
    for want, wait_s in ((1, 0.0), (2, 0.7), (4, 0.3), (5, 0.1)):
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env=environment())
        until = time.monotonic() + 600
        while process.poll() is None and time.monotonic() < until:
            if len(list((run / "forest").glob("[!.]*.parquet"))) >= want:
                time.sleep(wait_s)
                break
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        now = {path: path.stat().st_mtime_ns for path in (run / "forest").glob("[!.]*.parquet")}
        assert all(now[path] == stamp for path, stamp in written.items()), (
            "a written shard was computed again"
        )
        written = now
    assert kills >= 2
    train(run, *stages)
    assert files(run, "forest", "labels") == files(finished[0], "forest", "labels")
    assert not [path for path in run.rglob("*") if ".tmp-" in path.name]


def test_a_file_of_problems(tmp_path, own_data):
    # Rows that fall on both sides of the split, the worked examples' style and all.
    sides = {"train": [], "test": []}
    for line in own_data("gsm8k_form.jsonl").read_text().splitlines():
        sides[part_of(json.loads(line)["question"])].append(line)
    lines = [*sides["train"][:3], *sides["test"][:2]]
    mine = tmp_path / "mine.jsonl"
    mine.write_text("\n".join([*lines, '{"question": "no answer"}']) + "\n")
    run = tmp_path / "gsm8k"
    stages = ("--only", "problems", "--only", "search", "--only", "label")
    done = train(run, "--problems", str(mine), *stages)
    problems = pl.read_parquet(run / "problems.parquet")
    assert problems.sort("split")["split"].to_list() == ["test", "test", "train", "train", "train"]
    golds = {row["question"]: row["answer"].rpartition("#### ")[2] for row in map(json.loads, lines)}
    assert dict(problems.select("question", "answer").iter_rows()) == golds
    assert "1 rows" in done.stderr
    assert json.loads((run / "rejected/problems.jsonl").read_text())["row"] == 6
    grades = pl.concat([pl.read_parquet(path) for path in (run / "grades").glob("*.parquet")])
    assert grades.filter(tree="edu")["problem_id"].n_unique() == 5


def test_a_file_of_problems_to_hold_out(tmp_path):
    rows = [{"id": n, "question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(6)]
    learn, held_out = tmp_path / "learn.jsonl", tmp_path / "held_out.jsonl"
    learn.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # One question stands in both files; another's id is that of a problem to train on.
    other = [rows[5], {"id": 0, "question": "What is 8 + 8?", "answer": "16"}, {"question": "no answer"}]
    held_out.write_text("".join(json.dumps(row) + "\n" for row in other))
    run = tmp_path / "run"
    given = ("--problems", str(learn), "--test-problems", str(held_out), "--only", "problems")
    done = train(run, *given)
    problems = pl.read_parquet(run / "problems.parquet")
    assert problems.filter(split="train")["answer"].to_list() == ["0", "2", "4", "6", "8"]
    assert problems.filter(split="test")["answer"].to_list() == ["10", "16"]
    assert problems["problem_id"].to_list() == ["train-0", "1", "2", "3", "4", "5", "0"]
    assert "1 of" in done.stderr
    assert "held out too" in done.stderr
    assert json.loads((run / "rejected/test_problems.jsonl").read_text())["row"] == 3

    train(run, *given)
    held_out.write_text(json.dumps(other[1]) + "\n")
    assert "test_problems was" in train(run, *given, expect=2).stderr
    refused = train(tmp_path / "none", "--test-problems", str(held_out), expect=2).stderr
    assert "--problems FILE: expected both" in refused
    learn.write_text(json.dumps(other[1]) + "\n")
    assert "are held out" in train(tmp_path / "all", *given, expect=2).stderr


def test_a_data_set_with_a_split_of_its_own_to_hold_out(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"problem": f"What is {n} + {n}?", "solution": f"It is \\boxed{{{2 * n}}}."} for n in range(2, 8)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    # One question of the training split stands in the test split too: it must not be trained on.
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[3:]))
    run = tmp_path / "run"
    train(run, "--problem.dataset", str(folder), "--problem.test-split", "test", "--only", "problems")
    problems = pl.read_parquet(run / "problems.parquet")
    assert problems.filter(split="train")["answer"].to_list() == ["4", "6", "8"]
    assert problems.filter(split="test")["answer"].to_list() == ["10", "12", "14"]
