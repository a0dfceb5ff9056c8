"""What computes a training on a CPU is chosen by comparison, said, and changes the result by rounding alone."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from eduprm.prm import train_prm
from eduprm.prm.adapters import prepare_model
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.fast import machine, prepare, prepare_fast, settle_dtype
from eduprm.prm.fast.backbone import FastBackbone
from eduprm.prm.model import packed_hidden, to_tensors
from eduprm.prm.packing import pack_rows
from eduprm.prm.testing import tiny_backbone
from eduprm.prm.trainer import PrmTrainer

ADAPTED = TrainConfig(
    lora=LoraSettings(rank=4),
    last_layers=1,
    learning_rate=1e-2,
    warmup=0.0,
    batch_tokens=64,
    cpu_layers="auto",
)


@pytest.fixture
def data(make_tree):
    return TrainingData([make_tree(seed, num_nodes=3 + seed) for seed in range(4)])


def train(backbone, data, builder, folder, **settings):
    config = ADAPTED.model_copy(update=settings)
    result = train_prm(backbone, data, builder, folder, config=config, progress=False)
    notes = json.loads((result.folder / "config.json").read_text())["eduprm"]["training"]
    return load_file(result.folder / "model.safetensors"), notes["decoder_layers"]


def test_training_ends_where_transformers_layers_end(backbone, data, builder, tmp_path):
    ours, chosen = train(backbone, data, builder, tmp_path / "a", epochs=4)
    theirs, other = train(backbone, data, builder, tmp_path / "b", epochs=4, cpu_layers="transformers")
    assert chosen.startswith("eager")
    assert other == "transformers (as set)"
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) < 1e-4
    start = load_file(backbone / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    assert (ours[name] - start[name]).abs().max() > 1e-2


def test_room_for_kept_states_and_a_restart_change_no_bit(backbone, data, builder, tmp_path, monkeypatch):
    whole, _ = train(backbone, data, builder, tmp_path / "a", epochs=3, save_steps=2)
    bare, _ = train(backbone, data, builder, tmp_path / "b", epochs=3, kept_states_mb=0)
    step, calls = PrmTrainer.training_step, []

    def stop_at_third(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(PrmTrainer, "training_step", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        train(backbone, data, builder, tmp_path / "c", epochs=3, save_steps=2)
    resumed, _ = train(backbone, data, builder, tmp_path / "c", epochs=3, save_steps=2)
    for name, value in whole.items():
        assert torch.equal(bare[name], value), name
        assert torch.equal(resumed[name], value), name


def test_states_that_do_not_fit_are_said(backbone, make_tree):
    fast = FastBackbone(
        prepare_model(backbone, ADAPTED, trust_remote_code=False), dtype=torch.float32, kept_bytes=2000
    )
    with pytest.warns(UserWarning, match="fill kept_states_mb"):
        fast.hidden(to_tensors(pack_rows([make_tree(1), make_tree(2)], [[0], [1]], pad_id=0)))
    assert fast.kept.bytes <= 2000


def test_layers_that_compute_otherwise_are_left_to_transformers(backbone, make_tree):
    model = prepare_model(backbone, ADAPTED, trust_remote_code=False)
    model.get_base_model().model.layers[1].mlp.act_fn = torch.nn.Tanh()
    assert "computes otherwise than Llama" in prepare_fast(model, ADAPTED)
    assert not hasattr(model, prepare.PLACE)
    with pytest.warns(UserWarning, match="cpu_layers='eager' cannot be had.*hidden states differ"):
        prepare_fast(model, ADAPTED.model_copy(update={"cpu_layers": "eager"}))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"compile": True}, "compile"), ({"gradient_checkpointing": True}, "gradient checkpointing")],
)
def test_what_was_asked_for_and_cannot_be_had_is_said(backbone, settings, reason):
    config = ADAPTED.model_copy(update={"cpu_layers": "eager", **settings})
    model = prepare_model(backbone, config, trust_remote_code=False)
    with pytest.warns(UserWarning, match=f"cpu_layers='eager' cannot be had.*{reason}"):
        assert prepare_fast(model, config).startswith(f"transformers ({reason}")
    assert not hasattr(model, prepare.PLACE)


def test_transformers_layers_are_the_default(backbone):
    model = prepare_model(backbone, TrainConfig(), trust_remote_code=False)
    assert prepare_fast(model, TrainConfig()) == "transformers (as set)"
    assert not hasattr(model, prepare.PLACE)


def test_another_family_is_left_to_transformers(tmp_path):
    folder = tiny_backbone(tmp_path / "gemma", architecture="gemma")
    model = prepare_model(folder, ADAPTED, trust_remote_code=False)
    assert prepare_fast(model, ADAPTED).startswith("transformers (")


def test_no_compiler_means_uncompiled_layers_and_is_said(backbone, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    model = prepare_model(backbone, ADAPTED, trust_remote_code=False)
    with pytest.warns(UserWarning, match=r"no C\+\+ compiler"):
        chosen = prepare_fast(model, ADAPTED.model_copy(update={"cpu_layers": "compiled"}))
    assert chosen == "eager (no C++ compiler)"
    assert hasattr(model, prepare.PLACE)


@pytest.mark.slow
@pytest.mark.skipif(machine.cpp_compiler() is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_compiled_layers_compute_the_same(backbone, make_tree, dtype):
    config = ADAPTED.model_copy(update={"cpu_layers": "compiled", "dtype": dtype})
    model = prepare_model(backbone, config, trust_remote_code=False)
    assert prepare_fast(model, config).startswith("compiled")
    compiled = getattr(model, prepare.PLACE)
    plain = FastBackbone(model, dtype=compiled.dtype)
    for batch in ([make_tree(1)], [make_tree(2), make_tree(3), make_tree(4)]):
        rows = to_tensors(pack_rows(batch, [[index] for index in range(len(batch))], pad_id=0))
        found = []
        for fast in (compiled, plain):
            setattr(model, prepare.PLACE, fast)
            model.zero_grad()
            hidden = packed_hidden(model, rows).float()
            (hidden * torch.linspace(-9, 9, hidden.numel()).view_as(hidden).sin()).sum().backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        assert torch.cosine_similarity(*found, dim=0) > 0.999


@pytest.mark.parametrize(("fast", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_what_is_fast_here(monkeypatch, fast, expected):
    monkeypatch.setattr(machine, "has_fast_bfloat16", lambda: fast)
    assert settle_dtype(TrainConfig(dtype="auto")).dtype == expected
    assert settle_dtype(TrainConfig(dtype="float32")).dtype == "float32"
