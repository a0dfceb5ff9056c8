"""Every command takes `none` wherever a setting may be None, and lists in every usual way."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from eduprm.core.command_line import CommandSettings, load_settings

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "train": ("eduprm.pipeline.settings:TrainSettings", []),
    "rerank": ("eduprm.rank.settings:RankSettings", ["solutions.jsonl"]),
    "bench processbench": ("eduprm.pipeline.steps.settings:ProcessBenchSettings", ["steps.jsonl"]),
    "bench prmbench": ("eduprm.pipeline.steps.settings:PrmBenchSettings", ["steps.jsonl"]),
    "bench sampling": ("eduprm.pipeline.sampling.settings:SamplingSettings", []),
    "warmup": ("eduprm.teach.settings:WarmupSettings", []),
    "serve": ("eduprm.serve.server.settings:ServeSettings", []),
}
LISTS = [
    ("train", "only", ["problems", "search", "label"]),
    ("train", "rerun", ["prm", "score"]),
    ("bench processbench", "parts", ["gsm8k", "math"]),
    ("bench prmbench", "parts", ["redundency", "circular"]),
    ("bench sampling", "grid.thresholds", [0.1, 0.5]),
    ("bench sampling", "grid.orders", ["best_first", "chronological"]),
    ("bench sampling", "training.kinds", ["edu", "lines"]),
    ("warmup", "test-tasks", ["long_sum", "products"]),
]


def load(command: str, *arguments: str) -> CommandSettings:
    place, file = COMMANDS[command]
    module, _, name = place.partition(":")
    return load_settings(getattr(import_module(module), name), [*file, *arguments])


def value(settings: Any, dotted: str) -> Any:
    for name in dotted.replace("-", "_").split("."):
        settings = getattr(settings, name)
    return settings


def may_be_none(schema: dict[str, Any], of: dict[str, Any], before: str = "") -> list[str]:
    """Names of all settings that the JSON schema of a model lets be null, those of parts too."""
    found = []
    for name, entry in of.get("properties", {}).items():
        choices = entry.get("anyOf", [entry])
        flag = before + name.replace("_", "-")
        if {"type": "null"} in choices:
            found.append(flag)
        for one in choices:
            part = schema["$defs"].get(one.get("$ref", "").rpartition("/")[2], {})
            found += may_be_none(schema, part, flag + ".")
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_none_is_taken_by_every_setting_that_may_be_none(command):
    schema = type(load(command)).model_json_schema()
    flags = may_be_none(schema, schema)
    assert len(flags) >= 3
    for flag in flags:
        # Not its default, where another value is known: none must change it.
        assert value(load(command, f"--{flag}", "none"), flag) is None, flag


@pytest.mark.parametrize(("command", "flag", "wanted"), LISTS)
def test_lists_take_spaces_commas_and_repetition_alike(command, flag, wanted):
    words = [str(one) for one in wanted]
    spaces = [f"--{flag}", *words]
    commas = [f"--{flag}", ",".join(words)]
    repeated = [part for word in words for part in (f"--{flag}", word)]
    for arguments in (spaces, commas, repeated):
        assert list(value(load(command, *arguments), flag)) == wanted, arguments


def test_a_list_ends_at_a_flag_or_at_two_dashes():
    settings = load("bench processbench", "--parts", "gsm8k", "math", "--seed", "2", "--", "more.jsonl")
    assert (list(settings.parts), settings.seed) == (["gsm8k", "math"], 2)
    assert list(settings.data) == ["steps.jsonl", "more.jsonl"]


def test_the_lora_of_a_prm_can_be_left_out_on_the_command_line():
    assert load("train").prm.train.lora is not None
    assert load("train", "--prm.train.lora", "none").prm.train.lora is None
    assert load("train", "--prm.train.lora", "none", "--prm.train.epochs", "2").prm.train.epochs == 2
