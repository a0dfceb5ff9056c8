"""The command: settings in, stages in order, the table out."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from eduprm.bench.command_line import UsageError, load_settings
from train_app.progress import UnfinishedError, say
from train_app.run_folder import RunFolder, stage_settings
from train_app.settings import STAGES, TrainSettings

_StageFunction = Callable[[TrainSettings, RunFolder], dict[str, Any]]


def main(arguments: Sequence[str]) -> int:
    """Run the job.

    The exit status is 0 when all is done, 2 when the command could not be carried out, and 3 when trees are missing
    that the same command may fetch.
    """
    try:
        settings = load_settings(TrainSettings, arguments)
        folder = RunFolder(settings.run)
        with folder.lock():
            _run(settings, folder)
    except UsageError as error:
        say(f"train: {error}")
        return 2
    except UnfinishedError as error:
        say(f"train: {error}")
        return 3
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 130
    return 0


def _run(settings: TrainSettings, folder: RunFolder) -> None:
    chosen = stage_settings(settings)
    _forget(settings, folder)
    wanted = settings.only or STAGES
    for stage in STAGES:
        folder.check(stage, chosen[stage])
    _quiet()
    began = time.monotonic()
    _write_config(settings, folder)
    for number, stage in enumerate(STAGES):
        if stage not in wanted:
            continue
        missing = [earlier for earlier in STAGES[:number] if not folder.is_done(earlier)]
        if missing:
            raise UsageError(f"--only: stage {stage!r} needs {', '.join(missing)} first; leave --only out")
        if folder.is_done(stage):
            say(f"{stage}: done before")
            continue
        started = time.monotonic()
        folder.begin(stage, chosen[stage])
        facts = _function(stage)(settings, folder)
        folder.finish(stage, chosen[stage], {**facts, "seconds": round(time.monotonic() - started, 1)})
    say(f"all stages done in {time.monotonic() - began:.0f} s")
    if folder.is_done("report"):
        from train_app.report import show

        show(settings, folder)


def _forget(settings: TrainSettings, folder: RunFolder) -> None:
    """Clear the stages to be done again and all that follow from them, the last one first."""
    if not settings.rerun:
        return
    first = min(STAGES.index(stage) for stage in settings.rerun)
    for stage in reversed(STAGES[first:]):
        folder.clear(stage)


def _function(stage: str) -> _StageFunction:
    # Imported when needed: torch is not loaded to say that a flag is wrong.
    from train_app import label_trees, make_problems, report, search_trees, train_prm

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
    from train_app.surroundings import surroundings

    folder.write_json("config.json", {"settings": settings.model_dump(mode="json"), **surroundings()})


def _quiet() -> None:
    """Libraries speak up for errors only; what the user should know, the stages say themselves."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for category in (FutureWarning, SyntaxWarning):
        warnings.filterwarnings("ignore", category=category)
