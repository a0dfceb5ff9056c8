"""A run of the recipe in its folder: examples, training, adapter, held-out problems; killed ones go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eduprm.core.errors import UsageError
from eduprm.core.files import atomic_write_bytes, file_digest, locked
from eduprm.teach.settings import WarmupSettings

if TYPE_CHECKING:
    import polars as pl

_FREE = {
    "run",
    "config",
    "adapter",
    "save_steps",
    "max_batches",
    "test_tasks",
    "test_file",
    "test_columns",
    "num_test",
    "max_new_tokens",
}
"""Settings that may change between calls: how long and how often to save, the constant part of the training being the
same for all of them, and what is judged."""


def teach(settings: WarmupSettings) -> None:
    """Train the adapter, unless it is there or was given, judge it, and merge a trained one into a policy of its own.

    Raises:
        UsageError: problems that cannot be made, a model or adapter that is not there, a folder begun with other
            settings, or one another process works in.
    """
    from transformers.utils import logging

    from eduprm.teach.adapters import stop_token
    from eduprm.teach.held_out import held_out_problems

    logging.disable_progress_bar()
    with locked(settings.run, "--run"):
        # What cannot be read is said before the training, and before the folder is claimed for these settings.
        problems = held_out_problems(settings)
        stop_token(settings.model)
        if settings.adapter is not None and not (settings.adapter / "adapter_config.json").is_file():
            raise UsageError(
                f"--adapter: {settings.adapter} holds no adapter_config.json, so it is no adapter"
            )
        adapter = settings.adapter or _train(settings, settings.run / "adapter", problems)
        _judge(settings, adapter, problems)
        if settings.adapter is None:
            _put_policy(settings, adapter)


def _train(settings: WarmupSettings, adapter: Path, held_out: pl.DataFrame) -> Path:
    """The adapter of these settings: made now, or taken from the run folder if it was made before."""
    _claim(settings)
    if (adapter / "adapter_model.safetensors").exists():
        print(f"adapter: {adapter} is there, remove it to train again", flush=True)
        return adapter
    from eduprm.teach.adapters import save_adapter, stop_token
    from eduprm.teach.examples import cut_batches, make_examples
    from eduprm.teach.training import train_adapter
    from eduprm.teach.worked_files import read_part, write_leftovers

    files = [read_part(part) for part in settings.mix]
    write_leftovers(settings.run, files)
    questions = {question for file in files if file is not None for question in file.taught["question"]}
    if both := len(questions.intersection(held_out["question"])):
        print(f"training: {both} of the held-out questions are taught: they tell nothing", flush=True)
    try:
        examples = make_examples(settings, files, stop_id=stop_token(settings.model))
    except ValueError as error:
        raise UsageError(f"--mix: {error}") from None
    batches = cut_batches(examples, batch_tokens=settings.batch_tokens, seed=settings.seed)
    batches = batches[: settings.max_batches]
    used = [example for batch in batches for example in batch]
    tokens, taught = sum(e.num_tokens for e in used), sum(len(e.solution) for e in used)
    print(
        f"training: {len(used)} worked solutions, {tokens} tokens ({taught} taught) in {len(batches)} batches",
        flush=True,
    )
    save_adapter(train_adapter(settings, batches, settings.run / "training"), adapter, model=settings.model)
    return adapter


def _claim(settings: WarmupSettings) -> None:
    """Write down what decides the training, or refuse a folder that was begun with other settings.

    Raises:
        UsageError: names the settings that differ.
    """
    wanted = _deciding(settings)
    for part in wanted["mix"]:
        if part["file"] is not None:
            part["file"] = _content(Path(part["file"]))  # a moved file is the same file
    path = settings.run / "config.json"
    if path.exists():
        # What came with a later version is no change while it has its default.
        found = _deciding(WarmupSettings(**json.loads(path.read_text())))
        if other := sorted(name for name in wanted if found[name] != wanted[name]):
            raise UsageError(
                f"--run: {settings.run} was begun with other settings ({', '.join(other)}); give another folder"
            )
    atomic_write_bytes(path, (json.dumps(wanted, indent=2) + "\n").encode())


def _deciding(settings: WarmupSettings) -> dict[str, Any]:
    decided: dict[str, Any] = json.loads(settings.model_dump_json(exclude=_FREE))
    return decided


def _content(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError as error:
        raise UsageError(f"--mix: {file}: cannot be read ({error.strerror}); name a file") from None


def _judge(settings: WarmupSettings, adapter: Path, problems: pl.DataFrame) -> None:
    """Solve held-out problems, write what was written, print what was right."""
    from eduprm.teach.held_out import judge, print_judgement, solve

    solutions = judge(solve(settings, adapter, problems), problems)
    target = settings.run / "held_out.jsonl"
    atomic_write_bytes(target, solutions.write_ndjson().encode())
    print_judgement(solutions, seed=settings.seed)
    print(f"solutions: {target}", flush=True)


def _put_policy(settings: WarmupSettings, adapter: Path) -> None:
    """The model with the adapter merged, a folder that servers and apps/train take as a policy."""
    from eduprm.policy import put_merged

    folder = settings.run / "policy"
    made = put_merged(settings.model, adapter, folder)
    print(
        f"policy: {folder} {'made' if made else 'is there'}, for apps/train --policy.model {folder} "
        f"--problem.style {settings.style}",
        flush=True,
    )
