"""A run is not continued by other versions of what computes it, and what it was made with is kept."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run whose stages `problems` and `label` are done, and whose search was begun."""
    from eduprm.core.command_line import load_settings
    from eduprm.pipeline.run_folder import RunFolder, stage_settings
    from eduprm.pipeline.settings import TrainSettings
    from eduprm.pipeline.versions import stage_versions

    folder = RunFolder(tmp_path / "run")
    settings = load_settings(TrainSettings, ["--run", str(folder.root)])
    chosen, versions = stage_settings(settings), stage_versions(settings)
    for stage in ("problems", "search", "label"):
        folder.begin(stage, chosen[stage], versions[stage])
    folder.finish("problems", {"style": "steps"})
    folder.finish("label", {})
    return folder


def start(folder, capsys, *arguments: str) -> tuple[int, str]:
    from eduprm_train.cli import main

    capsys.readouterr()
    code = main(["--run", str(folder.root), *arguments])
    return code, capsys.readouterr().err


def change(folder, stage: str, **versions: str) -> None:
    record = folder.read_json(f"stages/{stage}.json")
    record["versions"] |= versions
    folder.write_json(f"stages/{stage}.json", record)


def test_a_stage_records_the_versions_of_what_computes_it(begun):
    search = begun.facts("search")
    assert search["done"] is False
    assert search["versions"]["torch"] == version("torch")
    assert search["versions"]["eduprm-search"] == version("eduprm-search")
    assert "math-verify" in begun.facts("label")["versions"]
    assert begun.facts("problems")["style"] == "steps"


@pytest.mark.parametrize("stage", ["search", "label"])
def test_other_versions_are_refused_with_both_and_the_way_out(begun, capsys, stage):
    package = {"search": "transformers", "label": "eduprm-label"}[stage]
    change(begun, stage, **{package: "0.0.1"})
    code, said = start(begun, capsys, "--only", "problems")
    assert code == 2
    assert f"stage '{stage}' made by other versions: {package} was 0.0.1, is now {version(package)}." in said
    assert f"--rerun {stage}" in said
    assert len(said.splitlines()) == 1


def test_a_server_decodes_by_its_own_versions(begun, capsys):
    from eduprm.pipeline.settings import TrainSettings
    from eduprm.pipeline.versions import stage_versions

    served = TrainSettings(engine="sglang", url="http://127.0.0.1:1")
    assert "torch" not in stage_versions(served)["search"]
    assert "transformers" in stage_versions(served)["search"]


def test_a_stage_begun_before_versions_were_recorded(begun, capsys):
    for stage in ("label", "search"):
        record = begun.read_json(f"stages/{stage}.json")
        del record["versions"]
        begun.write_json(f"stages/{stage}.json", record)
    code, said = start(begun, capsys, "--only", "problems")
    assert code == 2
    assert f"torch was not recorded, is now {version('torch')}" in said
    # Finished ones are whole: they are taken, and it is said.
    begun.finish("search", {})
    code, said = start(begun, capsys, "--only", "problems", "label")
    assert code == 0
    assert "label: done before, by versions that were not recorded" in said


def test_what_each_start_was_made_with_is_kept(begun, capsys):
    assert start(begun, capsys, "--only", "problems")[0] == 0
    first = begun.read_json("config.json")
    assert first["earlier"] == []
    # The same again adds nothing; another setting or machine does.
    assert start(begun, capsys, "--only", "problems")[0] == 0
    assert begun.read_json("config.json") == first
    assert start(begun, capsys, "--only", "problems", "--bootstrap", "77")[0] == 0
    second = begun.read_json("config.json")
    assert second["settings"]["bootstrap"] == 77
    del first["earlier"]
    assert second["earlier"] == [first]
    assert first["versions"]["torch"] == version("torch")
    second["hardware"]["cores"] = 1000
    (begun.root / "config.json").write_text(json.dumps(second))
    assert start(begun, capsys, "--only", "problems", "--bootstrap", "77")[0] == 0
    third = begun.read_json("config.json")
    assert [one["hardware"]["cores"] for one in third["earlier"]] == [first["hardware"]["cores"], 1000]
    assert third["earlier"][0] == first
