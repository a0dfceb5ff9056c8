"""The run folder: where each stage's files are, which stages are done, and with which settings.

    config.json            resolved settings, versions, commit, hardware of the last start, and of all earlier ones
    problems.parquet       problems with the prompts that the policy was given
    rejected/              problems and rows that were rejected, with the reason
    forest/SPLIT-N.parquet trees, a shard of problems each
    costs/SPLIT-N.parquet  what each tree cost its engine
    grades/, labels/       graded leaves and labelled trees, shard by shard
    prm/                   the trained PRM, a Hugging Face folder
    scores/                held-out trees with the PRM's scores
    metrics.json, figures/ the result
    report.html            the same to look at, with every tree
    solutions.jsonl        the held-out solutions of the first strategy, as a file for apps/rerank
    stages/                one record a stage: settings, versions, and what it took once it is done

A stage's record is written before its first file (with settings and versions) and again when all its files are there.
Files are written atomically, so a killed run leaves whole shards and nothing else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from eduprm.core.command_line import UsageError, first_line, quoted
from eduprm.core.files import atomic_write_bytes, file_digest
from eduprm.pipeline.contents import ADDED, add_contents, content
from eduprm.pipeline.label_steps import step_segmenters
from eduprm.pipeline.settings import STAGES, TrainSettings
from eduprm.pipeline.strategies import asks_grader, reads_label_steps

_FILES: dict[str, tuple[str, ...]] = {
    "problems": ("problems.parquet", "rejected/problems.jsonl", "rejected/test_problems.jsonl"),
    "search": ("forest", "costs", "rejected/search"),
    "label": ("labels", "grades", "rejected/label.jsonl"),
    "prm": ("prm", "training.json"),
    "score": ("scores", "before"),
    "report": ("metrics.json", "figures", "report.html", "solutions.jsonl"),
}

_GRADER = "problem.grader"


class RunFolder:
    """One run on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, *parts: str) -> Path:
        """A path inside the folder."""
        return self.root.joinpath(*parts)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(target, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file, None if it is not there."""
        path = self.path(name)
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except ValueError as error:
            raise UsageError(
                f"--run: {path} is broken ({first_line(error)}); restore it, or choose another --run"
            ) from None

    # ---- stages ----------------------------------------------------------------------------------------

    def is_done(self, stage: str) -> bool:
        """Whether the stage has all its files."""
        record = self._record(stage)
        return bool(record and record["done"])

    def check(self, stage: str, settings: dict[str, Any], versions: dict[str, str]) -> None:
        """Refuse to mix: files of a stage that was begun with other settings, or by other versions of what computes it.

        A setting that the record lacks, because there was none when it was written, counts as unchanged at its
        default. A stage that has no file yet takes another grader. A finished stage whose record names no versions is
        older than such records, and taken as it is; so is one whose record lacks what a PRM's or a backbone's folder
        held.

        Raises:
            UsageError: names the setting or package, its two values and the way out.
        """
        record = self._record(stage)
        if record is None:
            return
        defaults = stage_settings(TrainSettings())[stage]
        before = {name: defaults[name] for name in settings if name in defaults}
        before |= self._filed(record["settings"], settings)
        if record["done"]:
            before |= {
                name: settings[name]
                for name in settings
                if name.endswith(ADDED) and name not in record["settings"]
            }
        if self._only_begun(stage, record):
            before |= {name: settings[name] for name in settings if name.startswith(_GRADER)}
        if changed := _changes(before, settings, show=quoted):
            raise UsageError(
                f"--run: {self.root} holds stage {stage!r} made with other settings: {changed}. "
                f"Give --rerun {stage} to do it again, or another --run"
            )
        old = record.get("versions")
        if old is None and record["done"]:
            return
        if changed := _changes(old or {}, versions, show=lambda value: str(value or "not recorded")):
            raise UsageError(
                f"--run: {self.root} holds stage {stage!r} made by other versions: {changed}. Install those, "
                f"give --rerun {stage} to do it and what follows again, or another --run"
            )

    def begin(self, stage: str, settings: dict[str, Any], versions: dict[str, str]) -> None:
        """Note settings and versions before the stage's first file."""
        old = self._record(stage)
        if old is None or (old["settings"] != settings and self._only_begun(stage, old)):
            record = {"done": False, "settings": settings, "versions": versions}
            self.write_json(f"stages/{stage}.json", record)

    def withdraw(self, stage: str) -> None:
        """Take back the record of a stage that refused what it was given and wrote no file."""
        record = self._record(stage)
        if record is not None and self._only_begun(stage, record):
            self.path(f"stages/{stage}.json").unlink()

    def finish(self, stage: str, facts: dict[str, Any]) -> None:
        """Note that the stage has all its files; it was begun before."""
        self.write_json(f"stages/{stage}.json", {**self.facts(stage), **facts, "done": True})

    def note(self, stage: str, facts: dict[str, Any]) -> None:
        """Add to the record of a stage that is under way."""
        self.write_json(f"stages/{stage}.json", {**self.facts(stage), **facts})

    def facts(self, stage: str) -> dict[str, Any]:
        """A stage's record, with what `finish` was given; empty if it was not begun."""
        return self._record(stage) or {}

    def clear(self, stage: str) -> None:
        """Remove a stage's files, its record last."""
        for name in _FILES[stage]:
            path = self.path(name)
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
        self.path(f"stages/{stage}.json").unlink(missing_ok=True)

    def _only_begun(self, stage: str, record: dict[str, Any]) -> bool:
        """Whether a stage was begun and has no file yet, but for lists of what it refused: there is nothing to mix."""
        files = [name for name in _FILES[stage] if not name.startswith("rejected/")]
        return not record["done"] and not any(self.path(name).exists() for name in files)

    def _filed(self, record: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """A record's settings where they are filed today.

        The grader stood with the problems once, and its options nowhere else.
        """
        if not any(name.startswith(_GRADER) for name in settings):
            return {name: value for name, value in record.items() if not name.startswith(_GRADER)}
        there = self.facts("problems").get("settings", {})
        moved = {
            f"{_GRADER}_options": _listed_options(
                {
                    name.removeprefix(f"{_GRADER}_options."): value
                    for name, value in there.items()
                    if name.startswith(f"{_GRADER}_options.")
                }
            )
        }
        if _GRADER in there:
            moved[_GRADER] = there[_GRADER]
        return moved | record

    def _record(self, stage: str) -> dict[str, Any] | None:
        return self.read_json(f"stages/{stage}.json")


def stage_settings(settings: TrainSettings) -> dict[str, dict[str, Any]]:
    """Per stage, the settings that decide what it writes, flat: what `RunFolder.check` compares.

    A stage's own settings only; a change of an earlier stage's is caught there. Models of folders count by content:
    the one that a round trained stands where the one before it stood.
    """
    dumped, read = settings.model_dump(mode="json"), cache(content)
    # How processes share the training decides nothing but its speed: a run may go on with another number of them.
    dumped["prm"]["train"].pop("sharding")
    dumped["label"].pop("judge")
    named = settings.label.judge_prm
    if named == "judge":
        judge = settings.label.judge
        dumped["label"]["judge"] = judge.deciding()
        dumped["label"]["judge_model_content"] = None if judge.url else read(judge.model)
    elif (held := read(named)) is not None:
        dumped["label"]["judge_content"] = held
    for part in ("label", "prm", "strategy_options"):
        add_contents(dumped[part], read)
    source: dict[str, Any] = {"limit": settings.limit}
    for name in ("problems", "test_problems"):
        file: Path | None = getattr(settings, name)
        # The content, not the path: a moved file is the same file.
        source[name] = None if file is None else file_digest(file)[:16]
    model = {"model": settings.policy.model}
    if (held := read(settings.policy.model)) is not None:
        model["content"] = held
    problem = dumped["problem"]
    grading = {
        "grader": problem.pop("grader"),
        "grader_options": _listed_options(problem.pop("grader_options")),
    }
    chosen: dict[str, dict[str, Any]] = {
        "problems": {**source, "problem": problem, "policy": {"model": settings.policy.model}},
        "search": {
            "search": dumped["search"],
            "samples": dumped["samples"],
            "strategies": dumped["strategies"],
            "strategy_options": dumped["strategy_options"],
            "policy": {**model, "dtype": settings.policy.dtype},
            "shard_problems": settings.shard_problems,
            # Trees of another engine differ by rounding, bounds by more; where the server is makes no difference.
            "engine": settings.engine,
            "server": {"entropy": settings.server.entropy},
            **({"label": {"steps": step_segmenters(settings)}} if reads_label_steps(settings) else {}),
            **({"problem": grading} if asks_grader(settings) else {}),
        },
        "label": {"label": dumped["label"], "problem": grading},
        "prm": {"prm": dumped["prm"]},
        "score": {},
        "report": {"bootstrap": settings.bootstrap},
    }
    for stage in ("problems", "search", "prm", "report"):
        chosen[stage]["seed"] = settings.seed
    return {stage: _flat(chosen[stage]) for stage in STAGES}


def _listed_options(options: dict[str, Any]) -> list[str]:
    """Options as one setting, which a record also has where there are none."""
    return [f"{name}={value!r}" for name, value in sorted(options.items())]


def _changes(old: dict[str, Any], new: dict[str, Any], *, show: Callable[[Any], str]) -> str:
    return "; ".join(
        f"{key} was {show(old.get(key))}, is now {show(new.get(key))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        flat.update(_flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat
