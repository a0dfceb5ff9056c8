"""A training whose loss or gradients are no numbers stops, and writes nothing."""

from __future__ import annotations

import pytest

from eduprm.prm import train_prm
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.trainer import PrmTrainer

SMALL = {"lora": LoraSettings(rank=4), "last_layers": 1, "warmup": 0.0, "batch_tokens": 64}


def train(backbone, make_tree, builder, folder, **settings):
    data = TrainingData([make_tree(seed, num_nodes=3 + seed) for seed in range(4)])
    config = TrainConfig(**{**SMALL, **settings})
    return train_prm(backbone, data, builder, folder, config=config, progress=False)


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
    step = PrmTrainer.training_step

    def spoil(self, model, *args, **kwargs):
        loss = step(self, model, *args, **kwargs)
        next(p for p in model.parameters() if p.grad is not None).grad[0] = float("nan")
        return loss

    monkeypatch.setattr(PrmTrainer, "training_step", spoil)
    with pytest.raises(FloatingPointError, match="training step 1: expected a finite gradient norm, got nan"):
        train(backbone, make_tree, builder, tmp_path / "a", max_grad_norm=clip)
    assert not (tmp_path / "a").exists()
