"""Which stage a setting belongs to: what a changed grader leaves alone, and run folders of before."""

from __future__ import annotations

from pathlib import Path

import pytest

from eduprm.core.command_line import UsageError
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import STAGES, TrainSettings
from eduprm.pipeline.settings_parts import ProblemSettings


def chosen(grader: str = "auto", **given) -> dict[str, dict]:
    options = {"timeout_s": 20} if grader == "math" else {}
    problem = ProblemSettings(grader=grader, grader_options=options)
    return stage_settings(TrainSettings(problem=problem, **given))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run that is labelled by the grader `math`."""
    made = RunFolder(tmp_path)
    for stage in ("problems", "search", "label"):
        made.begin(stage, chosen("math")[stage], {})
        made.finish(stage, {})
    return made


def file_as_before(folder: RunFolder) -> None:
    """The records as they were: the grader with the problems too, its options there alone."""
    for stage, more in (("problems", {"problem.grader_options.timeout_s": 20}), ("label", {})):
        record = folder.facts(stage)
        record["settings"].pop("problem.grader_options", None)
        record["settings"] |= {"problem.grader": "math"} | more
        folder.write_json(f"stages/{stage}.json", record)


@pytest.mark.parametrize("as_before", [False, True])
def test_another_grader_leaves_problems_and_trees_alone(folder: RunFolder, as_before: bool) -> None:
    if as_before:
        file_as_before(folder)
    for stage in STAGES:
        folder.check(stage, chosen("math")[stage], {})
    now = chosen("number")
    folder.check("problems", now["problems"], {})
    folder.check("search", now["search"], {})
    with pytest.raises(UsageError) as caught:
        folder.check("label", now["label"], {})
    assert "problem.grader was 'math', is now 'number'; problem.grader_options was" in str(caught.value)
    assert "--rerun label" in str(caught.value)


def test_a_record_that_is_broken_is_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_json("stages/problems.json", {})
    run.path("stages/problems.json").write_text("")
    with pytest.raises(UsageError, match=r"--run: .*problems\.json is broken \(Expecting value"):
        run.is_done("problems")


def test_a_strategy_that_asks_the_grader_depends_on_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    searched = {"strategies": ["omega_prm", "greedy"], "strategy_options": {"omega_prm": {"rollouts": 2}}}
    run.begin("search", chosen("math", **searched)["search"], {})
    run.finish("search", {})
    run.check("search", chosen("math", **searched)["search"], {})
    with pytest.raises(UsageError, match=r"problem\.grader was 'math', is now 'number'"):
        run.check("search", chosen("number", **searched)["search"], {})


def test_a_stage_that_was_begun_and_has_no_file_takes_another_grader(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.begin("label", chosen("number")["label"], {})
    run.check("label", chosen("math")["label"], {})
    run.begin("label", chosen("math")["label"], {})
    assert run.facts("label")["settings"]["problem.grader"] == "math"
    run.path("labels").mkdir()
    with pytest.raises(UsageError, match=r"problem\.grader was 'math', is now 'number'"):
        run.check("label", chosen("number")["label"], {})
