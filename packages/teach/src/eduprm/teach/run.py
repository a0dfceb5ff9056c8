"""A run of the recipe in its folder: examples, training, adapter, held-out problems; killed ones go on."""

from __future__ import annotations

import json
from pathlib import Path

from eduprm.core.errors import UsageError
from eduprm.core.files import atomic_write_bytes, locked
from eduprm.teach.settings import WarmupSettings

_FREE = {"run", "config", "adapter", "save_steps", "max_batches", "test_tasks", "num_test", "max_new_tokens"}
"""Settings that may change between calls: how long and how often to save, the constant part of the training being the
same for all of them, and what is judged."""


def teach(settings: WarmupSettings) -> None:
    """Train the adapter, unless it is there or was given, and judge it.

    Raises:
        UsageError: problems that cannot be made, a folder begun with other settings, or one another process works in.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    with locked(settings.run, "--run"):
        _judge(settings, settings.adapter or _train(settings, settings.run / "adapter"))


def _train(settings: WarmupSettings, adapter: Path) -> Path:
    """The adapter of these settings: made now, or taken from the run folder if it was made before."""
    _claim(settings)
    if (adapter / "adapter_model.safetensors").exists():
        print(f"adapter: {adapter} is there, remove it to train again", flush=True)
        return adapter
    from eduprm.teach.adapters import save_adapter, stop_token
    from eduprm.teach.examples import cut_batches, make_examples
    from eduprm.teach.training import train_adapter

    try:
        examples = make_examples(settings, stop_id=stop_token(settings.model))
    except ValueError as error:
        raise UsageError(f"--mix: {error}") from None
    batches = cut_batches(examples, batch_tokens=settings.batch_tokens, seed=settings.seed)
    batches = batches[: settings.max_batches]
    used = [example for batch in batches for example in batch]
    tokens, taught = sum(e.num_tokens for e in used), sum(len(e.solution) for e in used)
    print(
        f"training: {len(used)} worked problems, {tokens} tokens ({taught} taught) in {len(batches)} batches",
        flush=True,
    )
    save_adapter(train_adapter(settings, batches, settings.run / "training"), adapter, model=settings.model)
    return adapter


def _claim(settings: WarmupSettings) -> None:
    """Write down what decides the training, or refuse a folder that was begun with other settings.

    Raises:
        UsageError: names the settings that differ.
    """
    wanted = json.loads(settings.model_dump_json(exclude=_FREE))
    path = settings.run / "config.json"
    if path.exists():
        found = json.loads(path.read_text())
        if other := sorted(name for name in wanted if found.get(name) != wanted[name]):
            raise UsageError(
                f"--run: {settings.run} was begun with other settings ({', '.join(other)}); give another folder"
            )
    atomic_write_bytes(path, (json.dumps(wanted, indent=2) + "\n").encode())


def _judge(settings: WarmupSettings, adapter: Path) -> None:
    """Solve held-out problems, write what was written, print what was right."""
    from eduprm.teach.held_out import held_out_problems, judge, print_judgement, solve

    try:
        problems = held_out_problems(settings)
    except ValueError as error:
        raise UsageError(f"--test-tasks: {error}") from None
    solutions = judge(solve(settings, adapter, problems), problems)
    target = settings.run / "held_out.jsonl"
    atomic_write_bytes(target, solutions.write_ndjson().encode())
    print_judgement(solutions, seed=settings.seed)
    print(f"solutions: {target}")
