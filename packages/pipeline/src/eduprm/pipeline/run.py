"""The stages of a run in their order, each done once: what `uv run apps/train` does.

Under torchrun the first process does as ever and the others help it to train: they wait until it comes to the stage
`prm`, read the same files, and write and say nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from eduprm.core.command_line import UsageError, quiet_libraries
from eduprm.core.files import locked
from eduprm.core.progress import say
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import STAGES, TrainSettings
from eduprm.pipeline.start_checks import check_gold_answers, check_start, unread_labels
from eduprm.prm.processes import is_first_process, num_processes, share

_StageFunction = Callable[[TrainSettings, RunFolder], dict[str, Any]]


def run_stages(settings: TrainSettings) -> None:
    """Do all stages that the run folder lacks; of several processes each calls this.

    Raises:
        UsageError: what makes a stage impossible, in one line.
        UnfinishedError: trees are missing that the same call may fetch.
    """
    _run_round(settings)
    for number in range(2, settings.rounds + 1):
        before = RunFolder(settings.folder)
        if not before.is_done("prm"):  # --only left it out
            return
        settings = next_round(settings, before, number)
        say(f"round {number}: trees grown by {settings.policy.model}, in {settings.folder}")
        _run_round(settings)


def _run_round(settings: TrainSettings) -> None:
    folder = RunFolder(settings.folder)
    _check_processes(settings, folder)
    check_start(settings, folder)
    if not is_first_process():
        _help(settings, folder)
        return
    with locked(folder.root, "--run"):
        _run(settings, folder)


def next_round(settings: TrainSettings, done: RunFolder, number: int) -> TrainSettings:
    """Settings of a further round: its trees are grown by the model that the round before trained.

    A PRM by likelihood is a language model, so it takes the policy's place, and is trained further. Problems and
    prompts stay as they were; the round has a folder of its own, `round-N` in the first one's.
    """
    trained = str(done.path("prm"))
    style = settings.problem.style or done.facts("problems").get("style")
    first = settings.folder if number == 2 else settings.folder.parent
    return settings.model_copy(
        update={
            "run": first / f"round-{number}",
            "policy": settings.policy.model_copy(update={"model": trained}),
            "prm": settings.prm.model_copy(update={"backbone": trained}),
            "problem": settings.problem.model_copy(update={"style": style}),
        }
    )


def _run(settings: TrainSettings, folder: RunFolder) -> None:
    from eduprm.pipeline.versions import stage_versions

    chosen, versions = stage_settings(settings), stage_versions(settings)
    again = _again(settings)
    wanted = settings.only or STAGES
    for stage in STAGES:
        if stage not in again:
            folder.check(stage, chosen[stage], versions[stage])
    quiet_libraries()
    if "label" in wanted and ("label" in again or not folder.is_done("label")):
        from eduprm.pipeline.label_judge import find_judge

        find_judge(settings)  # a PRM that is not there is said before trees grow
    for stage in reversed(again):  # nothing is removed for a command that is refused
        folder.clear(stage)
    began = time.monotonic()
    _write_config(settings, folder)
    say(_plan(settings, folder))
    if "prm" in wanted and not folder.is_done("prm"):
        for line in unread_labels(settings):
            say(f"label: {line}")
    for number, stage in enumerate(STAGES):
        if stage not in wanted:
            continue
        missing = [earlier for earlier in STAGES[:number] if not folder.is_done(earlier)]
        if missing:
            raise UsageError(f"--only: stage {stage!r} needs {', '.join(missing)} first; leave --only out")
        if folder.is_done(stage):
            unknown = "" if "versions" in folder.facts(stage) else ", by versions that were not recorded"
            say(f"{stage}: done before{unknown}")
            share(False)
            continue
        if stage == "search" and "label" in wanted:
            check_gold_answers(settings, folder)
        started = time.monotonic()
        folder.begin(stage, chosen[stage], versions[stage])
        share(True)
        try:
            facts = _function(stage)(settings, folder)
        except UsageError:
            folder.withdraw(stage)
            raise
        folder.finish(stage, {**facts, "seconds": round(time.monotonic() - started, 1)})
    say(f"all stages done in {time.monotonic() - began:.0f} s")
    if num_processes() == 1 and folder.is_done("report"):
        from eduprm.pipeline.report import show

        show(settings, folder)


def _plan(settings: TrainSettings, folder: RunFolder) -> str:
    """What the run is going to do, in one line; how long it takes, where that was measured."""
    ways = [entry.partition("=")[0] for entry in settings.strategies]
    compared = f", compared with {', '.join(ways[1:])}" if ways[1:] else ""
    parts = settings.model_dump(exclude={"run", "config", "only", "rerun", "seed"})
    measured = parts == TrainSettings().model_dump(exclude={"run", "config", "only", "rerun", "seed"})
    if measured:
        takes = "about 10 minutes on two cores"
    elif settings.engine == "sglang":
        takes = "how long it takes depends on the server and is not known: the search shows the time left"
    else:
        takes = "how long it takes was not measured for these settings: each stage shows the time left"
    return (
        f"train: trees by {ways[0]} from {settings.policy.model}, a PRM trained on them from {settings.backbone}, "
        f"judged on held-out problems{compared}; in {folder.root}; {takes}"
    )


def _check_processes(settings: TrainSettings, folder: RunFolder) -> None:
    """Refuse before hours of search what stage prm could not do after them."""
    count, wanted = num_processes(), settings.only or STAGES
    if count > 1 and settings.only != ["prm"]:
        raise UsageError(
            f"{count} processes can share stage prm only: give --only prm, and run the other stages without torchrun"
        )
    todo = "prm" in wanted and ("prm" in settings.rerun or not folder.is_done("prm"))
    if count == 1 and todo and settings.prm.train.sharding == "fsdp":
        raise UsageError(
            "--prm.train.sharding: fsdp shares the PRM out to several processes, got one: give --only problems search "
            "label first, then stage prm under torchrun (docs/scale.md); or --prm.train.sharding none"
        )


def _help(settings: TrainSettings, folder: RunFolder) -> None:
    """Take part in the first process's training, if it comes to that; it has checked folder and settings."""
    quiet_libraries()
    if share(None):
        from eduprm.pipeline.train_prm import train

        train(settings, folder)


def _again(settings: TrainSettings) -> tuple[str, ...]:
    """The stages to be done again, with all that follow from them."""
    return STAGES[min(map(STAGES.index, settings.rerun), default=len(STAGES)) :]


def _function(stage: str) -> _StageFunction:
    # Imported when needed: torch is not loaded to say that a flag is wrong.
    from eduprm.pipeline import label_trees, make_problems, report, search_trees, train_prm

    functions: dict[str, _StageFunction] = {
        "problems": make_problems.make_problems_stage,
        "search": search_trees.search_stage,
        "label": label_trees.label_stage,
        "prm": train_prm.prm_stage,
        "score": train_prm.score_stage,
        "report": report.report_stage,
    }
    return functions[stage]


def _write_config(settings: TrainSettings, folder: RunFolder) -> None:
    from eduprm.core.provenance import environment
    from eduprm.pipeline.versions import append_provenance

    append_provenance(folder, {"settings": settings.model_dump(mode="json"), **environment()})
