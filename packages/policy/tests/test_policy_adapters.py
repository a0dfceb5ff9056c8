"""What ships: whole, small, of the base model it names, and made by a recipe that is there."""

from __future__ import annotations

import json
import struct
import tomllib
from pathlib import Path

import pytest

from eduprm.policy import ADAPTERS, adapter_folder

MAX_BYTES = 12 * 2**20
BASES = {"smollm2-135m-steps": "smollm2-135m-instruct", "smollm2-135m-steps-prm": "smollm2-135m-steps"}


def header(path: Path) -> dict:
    """A safetensors file's own table of contents."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    table = json.loads(raw[8 : 8 + length])
    table.pop("__metadata__", None)
    assert max(entry["data_offsets"][1] for entry in table.values()) == len(raw) - 8 - length
    return table


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_is_whole_and_small(name):
    weights = adapter_folder(name) / "adapter_model.safetensors"
    assert weights.stat().st_size <= MAX_BYTES
    config = json.loads((adapter_folder(name) / "adapter_config.json").read_text())
    table = header(weights)
    assert {entry["dtype"] for entry in table.values()} == {"F16"}
    for side, axis in (("A", 0), ("B", 1)):
        own = [entry["shape"] for key, entry in table.items() if key.endswith(f".lora_{side}.weight")]
        assert len(own) * 2 == len(table)
        assert {shape[axis] for shape in own} == {config["r"]}
    # A name that resolve_model knows, not a path of the machine that made it.
    assert config["base_model_name_or_path"] == BASES[name]


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_recipe_is_of_the_adapter(name):
    recipe = tomllib.loads((adapter_folder(name) / "recipe.toml").read_text())
    config = json.loads((adapter_folder(name) / "adapter_config.json").read_text())
    train = recipe["prm"]["train"] if "prm" in recipe else {"lora": recipe["lora"], **recipe["lora"]}
    assert (train["lora"]["rank"], train["lora"]["alpha"]) == (config["r"], config["lora_alpha"])
    keys = header(adapter_folder(name) / "adapter_model.safetensors")
    layers = {key.split(".layers.")[1].split(".")[0] for key in keys}
    assert len(layers) == train["last_layers"]


def test_the_prm_says_what_its_recipe_made():
    folder = adapter_folder("smollm2-135m-steps-prm")
    recipe = tomllib.loads((folder / "recipe.toml").read_text())
    notes = json.loads((folder / "eduprm.json").read_text())
    assert notes["scoring"] == recipe["prm"]["train"]["scoring"]
    assert notes["training"]["config"]["losses"] == recipe["prm"]["train"]["losses"]
    assert notes["steps"]["policy"] == recipe["policy"]["model"]
    assert notes["steps"]["threshold"] == recipe["search"]["threshold"]


def test_an_unknown_adapter_is_named():
    with pytest.raises(ValueError, match="smollm2-135m-steps"):
        adapter_folder("smollm2-135m-poems")
