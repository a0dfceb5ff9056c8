"""apps/bench: from rows and a PRM to files and a table; kills, repeats, overlap, rows that do not fit, mistakes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eduprm_bench.cli import main

ROOT = Path(__file__).resolve().parents[1]


CONTEXT = 160


def page_data(path: Path) -> dict:
    """What report.html holds, as far as it is not compressed."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])


@pytest.fixture(scope="module")
def prm(tmp_path_factory):
    """A tiny random PRM in a run folder, beside the problems that it was not really trained on."""
    import polars as pl

    from eduprm.forest import PROBLEM_SCHEMA, write_table
    from eduprm.prm.testing import tiny_prm

    run = tmp_path_factory.mktemp("runs") / "default"
    rows = [
        (f"t{k}", f"What is  {k} + 1 ?", str(k + 1), None, "made", "train" if k < 2 else "test", None)
        for k in range(3)
    ]
    write_table(pl.DataFrame(rows, schema=PROBLEM_SCHEMA, orient="row"), run / "problems.parquet")
    return tiny_prm(run / "prm", max_position_embeddings=CONTEXT)


def processbench_rows(part: str, num: int = 12) -> list[dict]:
    return [
        {
            "id": f"{part}-{k}",
            "problem": f"what is {k}+1?" if part == "gsm8k" else f"what is {k} * 2?",
            "steps": [f"step {j} of {k}" for j in range(1 + k % 3)],
            "label": -1 if k % 2 else k % 3,
        }
        for k in range(num)
    ]


@pytest.fixture
def bench(prm, tmp_path, monkeypatch, capsys):
    """Run the app in an empty folder that holds two files; gives exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(processbench_rows("gsm8k")))
    lines = map(json.dumps, processbench_rows("math"))
    (tmp_path / "b.jsonl").write_text("\n".join(lines))

    def run(*arguments):
        given = () if "--prm" in arguments else ("--prm", str(prm))
        status = main([*map(str, arguments), *given, "--bootstrap", "50"])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_steps_with_and_without_their_line_breaks_get_the_same_scores(bench, tmp_path):
    solutions = [["2 + 7 = 9", "9 - 2 = 7", "#### 7"], ["2 + 7 = 8", "#### 8"], ["#### 9"]]
    stripped = [
        {"id": f"gsm8k-{k}", "problem": "2 + 7 - 2?", "steps": steps, "label": [-1, 0, 0][k]}
        for k, steps in enumerate(solutions)
    ]
    broken = [
        {**row, "steps": [f"{step}\n" for step in row["steps"][:-1]] + row["steps"][-1:]} for row in stripped
    ]
    found, said = {}, {}
    for name, rows in (("stripped", stripped), ("broken", broken)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        status, out, err = bench("processbench", f"{name}.json", "--output", name)
        assert (status, err) == (0, "")
        report = json.loads((tmp_path / name / "report.json").read_text())
        found[name] = [row["scores"] for row in read_lines(tmp_path / name / "rows.jsonl")]
        said[name] = (
            report["joined_rows"],
            report["joiner"],
            "in 2 of 3 rows the steps carry no line breaks" in out,
        )
    for one, other in zip(found["stripped"], found["broken"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert said == {"stripped": (2, "\n", True), "broken": (0, "", False)}


def test_scores_threshold_and_figures_are_what_they_say(bench, prm, tmp_path):
    from eduprm.prm import ProcessRewardModel

    status, out, err = bench("processbench", "a.json", "b.jsonl", "--output", "out", "--chunk-rows", 5)
    assert (status, err) == (0, "")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = read_lines(tmp_path / "out" / "rows.jsonl")
    model, source = ProcessRewardModel.from_pretrained(prm), {}
    for row in [*processbench_rows("gsm8k"), *processbench_rows("math")]:
        source[row["id"]] = row
    threshold = report["threshold"]["value"]
    for row in rows:
        steps = source[row["id"]]["steps"]
        # Every prefix by itself gives the score that one pass gave.
        alone = [
            model.score(source[row["id"]]["problem"], steps[:end], complete=end == len(steps))[-1]
            for end in range(1, len(steps) + 1)
        ]
        assert row["scores"] == pytest.approx(alone, abs=1e-5)
        wrong = [step for step, score in enumerate(row["scores"]) if score <= threshold]
        assert row["prediction"] == (wrong[0] if wrong else -1)
    mine = [row for row in rows if row["part"] == "math"]
    found = [r["prediction"] == r["label"] for r in mine if r["label"] >= 0]
    kept = [r["prediction"] == r["label"] for r in mine if r["label"] < 0]
    table = {row["part"]: row for row in report["results"]["PRM"]}
    assert table["math"]["acc_error"] == pytest.approx(sum(found) / len(found))
    assert table["math"]["acc_correct"] == pytest.approx(sum(kept) / len(kept))
    assert table["gsm8k"]["f1"] == pytest.approx(report["threshold"]["f1_there"])
    assert report["threshold"]["chosen_on"] == "gsm8k"
    assert "best F1 on the 12 rows of gsm8k" in out
    assert "always wrong, mean" in out
    # Two of the run's problems were for training; the third was held out.
    assert report["overlap"]["ids"] == [{"part": "gsm8k", "id": f"gsm8k-{k}"} for k in (0, 1)]
    assert "PRM, without overlap" in report["results"]
    assert report["counts"] == {"rows": 24, "scored": 24, "rejected": 0}
    page = page_data(tmp_path / "out" / "report.html")
    listed = zip(page["list"], page["records"], strict=True)
    shown = {entry[0]: record["solutions"][0] for entry, record in listed}
    for row in rows:
        solution = shown[f"{row['part']} · {row['id']}"]
        assert [text for text, _, _ in solution["steps"]] == source[row["id"]]["steps"]
        assert [score for _, _, score in solution["steps"]] == pytest.approx(row["scores"], abs=1e-3)
        assert solution["wrong"] == ([row["label"]] if row["label"] >= 0 else [])
        assert solution["predicted"] == row["prediction"]


def test_a_run_takes_up_scores_by_content_and_ends_with_the_same_bytes(bench, tmp_path, monkeypatch):
    command = ("processbench", "a.json", "b.jsonl", "--output", "out", "--chunk-rows", 5)
    assert bench(*command)[0] == 0
    kinds = (".json", ".jsonl", ".html")
    written = (tmp_path / "out").rglob("*")
    files = {p: p.read_bytes() for p in written if p.suffix in kinds or p.name.startswith("chunk-")}
    assert tmp_path / "out" / "report.html" in files
    chunks = sorted((tmp_path / "out" / "scores").glob("chunk-*"))
    assert len(chunks) == 6
    # A killed run: some chunks are not there, one is half written.
    chunks[1].unlink()
    (chunks[1].parent / f".{chunks[1].name}.tmp-1-ab").write_text("[[")
    for name in ("report.json", "report.html", "rows.jsonl"):
        (tmp_path / "out" / name).unlink()
    assert bench(*command)[0] == 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path in files} == files
    # All there: the PRM is not even loaded.
    import eduprm.prm

    monkeypatch.setattr(eduprm.prm, "load_step_scorer", None)
    status, out, _ = bench(*command, "--threshold", "0.25")
    assert status == 0
    assert "threshold 0.25, given" in out
    # Fewer rows are a part of what is there, and so is one file of the two.
    assert bench(*command, "--limit", 5)[0] == 0
    assert bench("processbench", "b.jsonl", *command[3:], "--threshold", 0.5)[0] == 0
    # Other content is scored anew.
    for other in (("--batch-tokens", "64"), ("--weights", "int8")):
        status, _, err = bench(*command, *other)
        assert (status, "cannot be loaded" in err) == (2, True)


def test_rows_that_do_not_fit_are_listed_and_the_figures_say_so(bench, tmp_path):
    rows = processbench_rows("gsm8k")
    rows[0]["steps"][0] = "x" * CONTEXT
    rows[3].pop("label")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    status, out, err = bench("processbench", "a.json", "--output", "out")
    assert status == 3
    rejected = read_lines(tmp_path / "out" / "rejected.jsonl")
    assert [(row["row"], row["id"]) for row in rejected] == [(4, "gsm8k-3"), (None, "gsm8k-0")]
    assert f"context holds {CONTEXT}" in rejected[1]["reason"]
    assert "2 of 12 rows were rejected" in out
    assert len(err.splitlines()) == 2
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["counts"] == {"rows": 11, "scored": 10, "rejected": 2}
    ours, harsh = (report["results"][name][-1] for name in ("PRM", "PRM, rejected as wrong"))
    assert harsh["num_error"] == ours["num_error"] + 1
    assert harsh["acc_error"] < ours["acc_error"] or ours["acc_error"] == 0


def test_prmbench(bench, tmp_path):
    rows = [
        {
            "idx": str(k),
            "original_question": f"{k}?",
            "modified_question": f"what is {k} + 1?",
            "modified_process": ["one", "two" * 60 if k == 3 else "two"],
            "error_steps": [] if kind == "multi_solutions" else [2],
            "classification": kind,
        }
        for k in range(6)
        for kind in ("deception", "missing_condition", "multi_solutions")
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    status, out, err = bench("prmbench", "p.jsonl", "--output", "out")
    assert status == 3
    assert len(err.splitlines()) == 3
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    judges = report["results"]
    assert [row["part"] for row in judges["PRM"]] == [
        "missing_condition", "deception", "multi_solutions", "sensitivity", "total",
    ]  # fmt: skip
    assert judges["always right"][-1]["negative_f1"] == 0
    assert judges["PRM, rejected as wrong"][-1]["num_rows"] == 18
    assert judges["PRM"][-1]["num_rows"] == 15
    assert report["overlap"]["rows"] == 6
    assert "PRM, total" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            ["prosessbench"],
            "expected a command (processbench, prmbench, verify, sampling), got 'prosessbench'",
        ),
        (["processbench", "no.json"], "DATA: no.json: expected a file or the name of a data set"),
        (
            ["processbench", "wrong.json"],
            "expected columns id, problem, steps, label, got id: no problem, steps, label",
        ),
        (["processbench", "b.jsonl"], "--choose-on: no subset 'gsm8k' in the data, which hold math"),
        (["processbench", "a.json", "--prm", "nowhere"], "--prm: no PRM at nowhere"),
        (["processbench", "a.json", "--threshold", "2"], "--threshold: expected less than or equal to 1"),
        (["processbench", "a.json", "--parts", "omnimath"], "--parts: no row of omnimath"),
        (["processbench", "a.json", "--train-problems", "none.jsonl"], "--train-problems: none.jsonl"),
        (["prmbench", "a.json"], "expected columns idx, modified_question"),
    ],
)
def test_a_mistake_gets_one_line(bench, tmp_path, arguments, part):
    (tmp_path / "wrong.json").write_text('[{"id": "1"}]')
    status, out, err = bench(*arguments)
    assert (status, out) == (2, "")
    assert part in err
    assert len(err.splitlines()) == 1


def test_without_a_prm_the_default_runs_or_the_one_that_ships_is_taken(
    prm, bench, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("eduprm.prm.prm_folder.resolve_model", lambda name: str(prm))
    own = tmp_path / "runs" / "default"
    for place, taken in (
        ("1", "smollm2-135m-steps-prm, which ships"),
        ("2", "runs/default/prm, of the default run"),
    ):
        assert main(["processbench", "a.json", "--output", place, "--limit", "2", "--bootstrap", "20"]) == 0
        [line] = [
            line
            for line in capsys.readouterr().err.splitlines()
            if line.startswith("bench processbench: no --prm")
        ]
        assert f"taking {taken}" in line
        assert json.loads((tmp_path / place / "report.json").read_text())["prm"] == taken.partition(",")[0]
        own.mkdir(parents=True, exist_ok=True)
        if not (own / "prm").exists():
            shutil.copytree(prm, own / "prm")


def test_help_lists_the_commands(capsys):
    assert main(["--help"]) == 0
    assert "processbench" in capsys.readouterr().out


def test_a_threshold_that_cannot_be_chosen_is_said(bench, tmp_path):
    rows = [row for row in processbench_rows("gsm8k") if row["label"] >= 0]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    status, out, _ = bench("processbench", "a.json")
    assert status == 0
    assert "threshold 0.5, not chosen, since gsm8k holds no scored solution without an error" in out
    assert "F1 is not defined where there is no solution without an error: gsm8k, mean" in out
    report = json.loads(
        (tmp_path / "runs" / "bench" / "processbench-default-prm" / "report.json").read_text()
    )
    assert report["results"]["PRM"][0]["f1"] is None


@pytest.mark.slow
def test_a_killed_run_goes_on(prm, tmp_path):
    rows = [{**row, "id": f"gsm8k-{n}-{row['id']}"} for n in range(20) for row in processbench_rows("gsm8k")]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    command = [
        sys.executable, str(ROOT / "apps" / "bench"), "processbench", "a.json", "--prm", str(prm), "--chunk-rows", "2",
        "--choose-on", "gsm8k-0-gsm8k", "--bootstrap", "20", "--output",
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    child = subprocess.Popen([*command, "killed"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    scores = tmp_path / "killed" / "scores"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and len(list(scores.glob("chunk-*"))) < 3 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = {path.name: path.stat().st_mtime_ns for path in scores.glob("chunk-*")}
    assert 3 <= len(before) < 120
    assert not (tmp_path / "killed" / "report.json").exists()
    for folder in ("killed", "whole"):
        subprocess.run([*command, folder], cwd=tmp_path, env=environment, check=True, capture_output=True)
    after = {path.name: path.stat().st_mtime_ns for path in scores.glob("chunk-*")}
    assert before.items() <= after.items()  # nothing was computed again
    for name in ("report.json", "report.html", "rows.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    shutil.rmtree(tmp_path / "killed")
