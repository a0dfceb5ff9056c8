"""What labels and training need is refused before anything is computed, in one line that names the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.start_checks import check_start


def refusal(folder: Path, *arguments: str) -> str:
    from eduprm.core.command_line import UsageError, load_settings
    from eduprm.pipeline.run import run_stages
    from eduprm.pipeline.settings import TrainSettings

    settings = load_settings(TrainSettings, ["--run", str(folder), "--only", "problems", *arguments])
    with pytest.raises(UsageError) as caught:
        run_stages(settings)
    assert not folder.exists()  # nothing was begun
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--problem.grader", "foo"], "--problem.grader: expected a grader out of math, number, "),
        (["--problem.grader", "no.such:grade"], "--problem.grader: graders: 'no.such:grade' cannot be imported"),
        (
            ["--problem.grader", "math", "--problem.grader-options", "timeout_s=abc"],
            "--problem.grader: math: expected timeout_s of type float; got 'abc'",
        ),
        (
            ["--problem.grader", "math", "--problem.grader-options", "memory_mib=abc"],
            "--problem.grader: math: expected memory_mib as a whole number above 0 or None, got 'abc'",
        ),
        (["--problem.task", "sums"], "--problem.task: task must be one of "),
        (["--prm.train.losses", "focal=1"], "--prm.train.losses: losses: expected one of bidirectional, "),
        (["--prm.train.losses", "no.such:Loss=1"], "--prm.train.losses: losses: 'no.such:Loss' cannot be imported"),
        (["--prm.train.scoring.kind", "nope"], "--prm.train.scoring.kind: scorers: expected one of bidirectional, "),
        (
            ["--prm.train.losses", "cross_entropy=1"],
            "--prm.train.losses, --prm.train.scoring.kind: scoring by 'likelihood' reads the language model, which no "
            "loss of cross_entropy trains: expected a scorer of what they train, 'head' say",
        ),
        (
            [
                "--label.rule", "first_error",
                "--prm.train.losses", "cross_entropy=1", "--prm.train.scoring.kind", "head",
            ],
            "--label.rule first_error, --prm.train.scoring.kind head: labels of this rule speak of each step alone, "
            "this scorer's last score of the whole solution: expected a scorer of single steps, step_head",
        ),
        (["--prm.train.scheduler", "cosin"], "--prm.train.scheduler: expected one of linear, cosine, "),
        (["--prm.backbone", "/no/such"], "--prm.backbone: model '/no/such': no such folder"),
        (["--prm.backbone", "runs/no-such"], "--prm.backbone: expected a model's folder or hub name, "),
    ],
)  # fmt: skip
def test_what_later_stages_read_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refusal(tmp_path / "run", *arguments).startswith(said)


def test_a_backbone_that_can_have_no_head_is_refused_at_the_start(tmp_path: Path) -> None:
    from transformers import AutoConfig

    backbone = str(tmp_path / "backbone")
    AutoConfig.for_model("gemma3").save_pretrained(backbone)  # of text and pictures
    head = ["--prm.train.losses", "cross_entropy=1", "--prm.train.scoring.kind", "head"]
    said = refusal(tmp_path / "run", "--prm.backbone", backbone, *head)
    assert said.startswith(f"--prm.backbone: {backbone} is a model of type gemma3, which can have no head")


def test_a_stage_that_refuses_before_its_first_file_leaves_the_folder_to_others(tmp_path: Path) -> None:
    from eduprm.core.command_line import UsageError, load_settings
    from eduprm.pipeline.run import run_stages
    from eduprm.pipeline.settings import TrainSettings
    from eduprm.prm.testing import tiny_backbone

    file, run, policy = tmp_path / "rows.jsonl", tmp_path / "run", str(tiny_backbone(tmp_path / "policy"))
    file.write_text("".join(f'{{"question": "{n} + 1?", "sum": "{n + 1}"}}\n' for n in range(12)))

    def train(*arguments: str) -> None:
        common = ["--run", str(run), "--only", "problems", "--problems", str(file)]
        run_stages(load_settings(TrainSettings, [*common, *arguments]))

    mapped = ["--policy.model", policy, "--problem.columns.answer", "sum"]
    with pytest.raises(UsageError, match=r"--policy.model: the tokenizer of .* cannot be loaded"):
        train(*mapped, "--policy.model", str(tmp_path / "polocy"))
    with pytest.raises(UsageError, match="style must be one of"):
        train(*mapped, "--problem.style", "zero")
    with pytest.raises(UsageError, match="none of 12 rows can be used"):
        train("--policy.model", policy)
    assert (run / "rejected/problems.jsonl").is_file()
    train(*mapped)
    assert (run / "problems.parquet").is_file()
    assert not (run / "rejected/problems.jsonl").exists()
    with pytest.raises(UsageError, match=r"problem.style was None, is now 'gsm8k'"):
        train(*mapped, "--problem.style", "gsm8k")


def test_a_refused_command_removes_nothing_of_what_it_was_to_do_again(tmp_path: Path) -> None:
    from eduprm.core.command_line import UsageError, load_settings
    from eduprm.pipeline.run import run_stages
    from eduprm.pipeline.run_folder import stage_settings
    from eduprm.pipeline.settings import STAGES, TrainSettings
    from eduprm.pipeline.versions import stage_versions

    folder = RunFolder(tmp_path)
    settings = load_settings(TrainSettings, ["--run", str(tmp_path)])
    chosen, versions = stage_settings(settings), stage_versions(settings)
    for stage in STAGES:
        folder.begin(stage, chosen[stage], versions[stage])
        folder.finish(stage, {})
    for name in ("prm/config.json", "metrics.json"):
        folder.write_json(name, {})
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    other = ["--run", str(tmp_path), "--rerun", "prm", "--search.threshold", "0.7"]
    with pytest.raises(UsageError, match=r"search.threshold was 0.1, is now 0.7. Give --rerun search"):
        run_stages(load_settings(TrainSettings, other))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock") == before


def test_stages_that_are_done_are_not_asked_again(tmp_path: Path) -> None:
    from eduprm.core.command_line import UsageError, load_settings
    from eduprm.pipeline.settings import TrainSettings

    folder = RunFolder(tmp_path)
    for stage in ("label", "prm"):
        folder.begin(stage, {}, {})
        folder.finish(stage, {})
    wrong = ["--run", str(tmp_path), "--prm.train.scheduler", "cosin"]
    check_start(load_settings(TrainSettings, wrong), folder)
    with pytest.raises(UsageError, match="scheduler"):
        check_start(load_settings(TrainSettings, [*wrong, "--rerun", "search"]), folder)
