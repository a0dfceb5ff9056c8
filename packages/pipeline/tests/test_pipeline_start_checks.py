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
