"""A training whose loss or gradients are no numbers stops, and writes nothing."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainerCallback

from eduprm.prm import train_prm
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.trainer import PrmTrainer

SMALL = {"lora": LoraSettings(rank=4), "last_layers": 1, "warmup": 0.0, "batch_tokens": 64}


def train(backbone, make_tree, builder, folder, *, callbacks=(), **settings):
    data = TrainingData([make_tree(seed, num_nodes=3 + seed) for seed in range(4)])
    config = TrainConfig(**{**SMALL, **settings})
    return train_prm(backbone, data, builder, folder, config=config, progress=False, callbacks=callbacks)


def test_a_training_that_diverges_stops_and_names_the_step(backbone, make_tree, builder, tmp_path):
    settings = {"learning_rate": 1e30, "scheduler": "constant", "trainer_arguments": {"optim": "sgd"}}
    with pytest.raises(
        FloatingPointError, match=r"training step 2: expected a finite (loss|gradient norm), got (nan|inf)"
    ):
        train(backbone, make_tree, builder, tmp_path / "a", epochs=4, **settings)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_gradients_that_are_no_numbers_stop_it_too(backbone, make_tree, builder, tmp_path, monkeypatch, clip):
    """As a compiler's fault would make them: the loss is finite, a gradient is not."""
    monkeypatch.setattr(PrmTrainer, "training_step", spoil_from(1))
    with pytest.raises(FloatingPointError, match="training step 1: expected a finite gradient norm, got nan"):
        train(backbone, make_tree, builder, tmp_path / "a", max_grad_norm=clip)
    assert not (tmp_path / "a").exists()


def test_a_look_one_step_late_changes_no_weight_either(backbone, make_tree, builder, tmp_path, monkeypatch):
    """As on a GPU: the fused optimiser itself leaves out the refused step, and the next, which is under way by then."""
    monkeypatch.setattr(PrmTrainer, "_looks_late", lambda self: True)
    monkeypatch.setattr(PrmTrainer, "training_step", spoil_from(3))
    seen = Weights()
    with pytest.raises(FloatingPointError, match="training step 3: expected a finite gradient norm, got nan"):
        train(
            backbone,
            make_tree,
            builder,
            tmp_path / "a",
            epochs=4,
            callbacks=[seen],
            trainer_arguments={"optim": "adamw_torch_fused"},
        )
    assert not (tmp_path / "a").exists()
    one, two, three = (torch.cat([part.flatten() for part in step]) for step in seen.steps)
    assert not torch.equal(one, two)
    assert torch.equal(two, three)


def test_a_late_look_at_the_last_step_comes_before_the_end(
    backbone, make_tree, builder, tmp_path, monkeypatch
):
    monkeypatch.setattr(PrmTrainer, "_looks_late", lambda self: True)
    monkeypatch.setattr(PrmTrainer, "training_step", spoil_from(2))
    settings = {"batch_tokens": 4096, "trainer_arguments": {"optim": "adamw_torch_fused"}}
    with pytest.raises(FloatingPointError, match="training step 2"):
        train(backbone, make_tree, builder, tmp_path / "a", epochs=2, **settings)
    assert not (tmp_path / "a").exists()


class Weights(TrainerCallback):
    """The trained weights after each step."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, **kwargs):
        trained = [part for part in kwargs["model"].parameters() if part.requires_grad]
        self.steps.append([part.detach().clone() for part in trained])


def spoil_from(first):
    step = PrmTrainer.training_step

    def spoil(self, model, *args, **kwargs):
        loss = step(self, model, *args, **kwargs)
        if self.state.global_step + 1 >= first:
            next(p for p in model.parameters() if p.grad is not None).grad[0] = float("nan")
        return loss

    return spoil
