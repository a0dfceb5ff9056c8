"""What ships: whole, small, of the base model it names, and made by a recipe that is there."""

from __future__ import annotations

import json
import struct
import tomllib
from pathlib import Path

import pytest

from eduprm.policy import ADAPTERS, adapter_folder

MAX_BYTES = 12 * 2**20


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
    for module in config["target_modules"]:
        down, up = (table[f"base_model.model.{module}.lora_{side}.weight"]["shape"] for side in "AB")
        assert down[0] == up[1] == config["r"]
    assert len(table) == 2 * len(config["target_modules"])
    # A name that resolve_model knows, not a path of the machine that made it.
    assert config["base_model_name_or_path"] == "smollm2-135m-instruct"


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_recipe_is_of_the_adapter(name):
    recipe = tomllib.loads((adapter_folder(name) / "recipe.toml").read_text())
    config = json.loads((adapter_folder(name) / "adapter_config.json").read_text())
    assert recipe["mix"]
    assert (recipe["lora"]["rank"], recipe["lora"]["alpha"]) == (config["r"], config["lora_alpha"])
    layers = {module.split(".")[2] for module in config["target_modules"]}
    assert len(layers) == recipe["lora"]["last_layers"]


def test_an_unknown_adapter_is_named():
    with pytest.raises(ValueError, match="smollm2-135m-steps"):
        adapter_folder("smollm2-135m-poems")
