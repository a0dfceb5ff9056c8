"""Names of models, and the folders that are made of those that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eduprm.policy import BUNDLED_MODEL, PRM_MODEL, STEPS_MODEL, adapter_folder, resolve_model
from eduprm.policy.models import _made_once


def test_a_hub_name_stays_and_a_missing_folder_is_named(tmp_path):
    assert resolve_model("Qwen/Qwen2.5-Math-7B") == "Qwen/Qwen2.5-Math-7B"
    assert resolve_model(str(tmp_path)) == str(tmp_path)
    with pytest.raises(ValueError, match="no-such-folder"):
        resolve_model(str(tmp_path / "no-such-folder"))


def test_without_the_package_of_weights_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"eduprm-policy\[models\]"):
        resolve_model(BUNDLED_MODEL)


def test_a_made_folder_whose_weights_were_cleared_away_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("EDUPRM_CACHE", str(tmp_path))

    def make(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text("weights")

    folder = _made_once("tiny", b"made by", make)
    (folder / "model.safetensors").unlink()
    assert _made_once("tiny", b"made by", make) == folder
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.slow
def test_the_bundled_model_is_a_plain_float32_folder():
    from safetensors import safe_open

    folder = resolve_model(BUNDLED_MODEL)
    with open(f"{folder}/config.json") as handle:
        config = json.load(handle)
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert "quantization_config" not in config
    with safe_open(f"{folder}/model.safetensors", framework="pt") as weights:
        assert str(weights.get_slice("model.embed_tokens.weight").get_dtype()) == "F32"
    assert resolve_model(BUNDLED_MODEL) == folder


def test_without_the_adapter_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"peft.* eduprm-policy\[models\]"):
        resolve_model(STEPS_MODEL)


@pytest.mark.slow
def test_the_taught_model_is_the_bundled_one_with_its_adapter_merged():
    import torch
    from safetensors import safe_open

    folder, base = resolve_model(STEPS_MODEL), resolve_model(BUNDLED_MODEL)
    assert resolve_model(STEPS_MODEL) == folder != base
    adapter = adapter_folder(STEPS_MODEL) / "adapter_model.safetensors"
    name = "model.layers.29.mlp.down_proj"
    with (
        safe_open(f"{folder}/model.safetensors", framework="pt") as taught,
        safe_open(f"{base}/model.safetensors", framework="pt") as plain,
        safe_open(str(adapter), framework="pt") as lora,
    ):
        down, up = (lora.get_tensor(f"base_model.model.{name}.lora_{side}.weight").float() for side in "AB")
        added = up @ down * 2.0  # alpha 32 over rank 16
        weight = f"{name}.weight"
        torch.testing.assert_close(taught.get_tensor(weight), plain.get_tensor(weight) + added)
        assert added.abs().max() > 1e-3
        lower = "model.layers.0.mlp.down_proj.weight"
        assert torch.equal(taught.get_tensor(lower), plain.get_tensor(lower))
        assert set(taught.keys()) == set(plain.keys())


@pytest.mark.slow
def test_the_shipped_prm_is_a_folder_like_any_other():
    folder = resolve_model(PRM_MODEL)
    with open(f"{folder}/config.json") as handle:
        config = json.load(handle)
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["eduprm"]["scoring"] == {"kind": "likelihood", "fold": "min"}
    assert resolve_model(PRM_MODEL) == folder != resolve_model(STEPS_MODEL)
