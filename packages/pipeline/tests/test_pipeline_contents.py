"""A PRM or backbone that was trained again in the folder that it had is another one: its stages are not taken up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eduprm.core.errors import UsageError
from eduprm.pipeline import contents
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import STAGES, TrainSettings

SCORES = {"filter": "consensus", "filter_options": {"judge": "scores"}}
NAMED = {
    "search": lambda name: {
        "strategies": ["edu", "mine=p_edu"],
        "strategy_options": {"mine": {"prm": name, "stop_below": 0.1}},
    },
    "label": lambda name: {"label": {**SCORES, "judge_prm": "judge", "judge": {"model": name}}},
    "prm": lambda name: {"prm": {"backbone": name}},
    "prm by curriculum": lambda name: {
        "prm": {"train": {"curriculum": "frozen_prm", "curriculum_options": {"prm": name}}}
    },
}


def model(folder: Path, weights: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def settings(case: str, name: Path | str) -> dict[str, dict[str, Any]]:
    return stage_settings(TrainSettings(_cli_parse_args=[], **NAMED[case](str(name))))


@pytest.mark.parametrize("case", NAMED)
@pytest.mark.parametrize("done", [True, False])
def test_a_model_trained_again_in_its_folder_is_another(case: str, done: bool, tmp_path: Path) -> None:
    stage, run = case.partition(" ")[0], RunFolder(tmp_path / "run")
    before = settings(case, model(tmp_path / "m", b"first"))
    run.begin(stage, before[stage], {})
    if done:
        run.finish(stage, {})
    run.check(stage, before[stage], {})
    after = settings(case, model(tmp_path / "m", b"later"))
    with pytest.raises(UsageError, match=rf"stage '{stage}' made with other settings: .*_content was '"):
        run.check(stage, after[stage], {})
    assert [one for one in STAGES if before[one] != after[one]] == [stage]
    assert settings(case, model(tmp_path / "m", b"first")) == before


@pytest.mark.parametrize("case", NAMED)
def test_records_of_before_contents_were_noted(case: str, tmp_path: Path) -> None:
    """A finished stage is taken as it is; one that was interrupted could mix two models."""
    stage, run = case.partition(" ")[0], RunFolder(tmp_path / "run")
    now = settings(case, model(tmp_path / "m", b"first"))[stage]
    run.begin(stage, {key: now[key] for key in now if not key.endswith("_content")}, {})
    with pytest.raises(UsageError, match="_content was None, is now '"):
        run.check(stage, now, {})
    run.finish(stage, {})
    run.check(stage, now, {})


def test_names_stand_for_themselves_and_each_folder_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    digest = contents.folder_digest
    monkeypatch.setattr(contents, "folder_digest", lambda folder: read.append(folder) or digest(folder))
    named = settings("prm", "org/model")
    assert named["prm"]["prm.backbone_content"] is None
    assert not read
    folder = str(model(tmp_path / "m", b"first"))
    both = {"policy": {"model": folder}, **NAMED["prm"](folder)}
    found = stage_settings(TrainSettings(_cli_parse_args=[], **both))
    assert found["search"]["policy.content"] == found["prm"]["prm.backbone_content"] == digest(Path(folder))
    assert read == [Path(folder)]
