"""What apps/train says first, and what it answers where a file of problems or a policy cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eduprm.core.command_line import UsageError, load_settings
from eduprm.pipeline.make_problems import problems_of
from eduprm.pipeline.run import _plan
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import TrainSettings

GOOD = '{"question": "What is 2 + 3?", "answer": "5"}\n'


def plan(*flags: str) -> str:
    settings = load_settings(TrainSettings, flags)
    return _plan(settings, RunFolder(settings.folder))


def problems(file: Path, *flags: str):
    settings = load_settings(TrainSettings, ["--problems", str(file), *flags])
    return problems_of(
        settings.problem, policy=settings.policy, seed=0, folder=file.parent / "run", file=settings.problems
    )


def test_the_first_line_says_what_is_done_and_how_long_it_takes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").write_text(GOOD)
    default = plan()
    assert default.startswith("train: trees by edu from smollm2-135m-steps, a PRM trained on them from ")
    assert default.endswith("in runs/default; about 10 minutes on two cores")
    own = plan("--problems", "mine.jsonl")
    assert "in runs/mine; how long it takes was not measured for these settings" in own
    served = plan("--engine", "sglang", "--url", "http://127.0.0.1:30000")
    assert "depends on the server" in served
    assert not any("\n" in line for line in (default, own, served))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b"", "a.jsonl is empty; expected a question and a gold answer a row"),
        ("a.jsonl", b"id,question\n1,2\n", r"none of 2 rows can be used, .*; a.jsonl, row 1: not JSON"),
        (
            "a.jsonl",
            '{"q": 1}\n'.encode("utf-16"),
            "row 1: UTF-16, as PowerShell writes it; save the file as UTF-8",
        ),
        (
            "a.jsonl",
            b'{"prompt": ["x"], "labels": [true]}',
            "none of 1 rows .* column 'prompt': expected text",
        ),
        ("a.csv", b"question,answer\n", r"expected a name ending in \.json, .*got \.csv"),
    ],
)
def test_a_file_without_problems_is_one_line_that_says_why(name, content, told, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"^--problems: .*{told}") as caught:
        problems(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_columns_of_other_names_are_named_by_flags(own_data, tmp_path):
    rows = [json.loads(line) for line in own_data("gsm8k_form.jsonl").read_text().splitlines()]
    lines = [json.dumps({"doc": {"q": row["question"]}, "a": row["answer"]}) + "\n" for row in rows]
    (tmp_path / "mine.jsonl").write_text("".join(lines))
    with pytest.raises(UsageError, match=r"no question in .*--problem\.columns\.question NAME"):
        problems(tmp_path / "mine.jsonl")
    with pytest.raises(UsageError, match=r"no gold answer; .*--problem\.columns\.answer NAME"):
        problems(tmp_path / "mine.jsonl", "--problem.columns.question", "doc.q")
    flags = ("--problem.columns.question", "doc.q", "--problem.columns.answer", "a")
    found, _ = problems(tmp_path / "mine.jsonl", *flags)
    assert set(found["question"]) == {row["question"] for row in rows}
    settings = load_settings(TrainSettings, ["--problems", str(tmp_path / "mine.jsonl"), *flags])
    assert stage_settings(settings)["problems"]["problem.columns.question"] == "doc.q"
    with pytest.raises(UsageError, match=r"--problem\.columns names columns of a file or data set"):
        load_settings(TrainSettings, flags)


@pytest.mark.parametrize(
    ("flags", "style"),
    [
        ((), "steps"),
        (("--policy.model", "smollm2-135m-instruct"), "gsm8k"),
        (("--problem.style", "products"), "products"),
    ],
)
def test_a_taught_policy_is_asked_about_a_file_as_it_was_taught(flags, style, own_data, tmp_path):
    (tmp_path / "mine.jsonl").write_text(own_data("gsm8k_form.jsonl").read_text())
    found, used = problems(tmp_path / "mine.jsonl", *flags)
    assert used == style
    longest = max(len(ids) for ids in found["prompt_token_ids"])
    assert (longest > 200) == (style != "steps")  # four worked examples


@pytest.mark.parametrize("name", ["nobody/nothing", "./not-there", "empty"])
def test_a_policy_that_cannot_be_loaded_is_one_line(name, own_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.jsonl").write_text(own_data("gsm8k_form.jsonl").read_text())
    with pytest.raises(
        UsageError, match=f"^--policy.model: the tokenizer of {name} cannot be loaded: "
    ) as caught:
        problems(tmp_path / "mine.jsonl", "--policy.model", name)
    assert "\n" not in str(caught.value)
