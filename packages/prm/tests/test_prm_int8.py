"""Weights of 8 bits: rounding worked out by hand, scores near the full model's, and clear refusals."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from eduprm.prm import ProcessRewardModel, load_step_scorer
from eduprm.prm.adapting import adapting_losses
from eduprm.prm.int8 import to_int8
from eduprm.prm.source import PrmReading, PrmSource
from eduprm.prm.testing import tiny_prm

installed = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs the extra int8")
SOLUTIONS = [("2*3?", ["2*3 = 6\n", "#### 6"]), ("2*3?", ["2*3 = 7\n", "so\n", "#### 7"]), ("9?", ["#### 9"])]


@installed
def test_a_row_is_rounded_to_127_steps_of_its_largest_weight(tmp_path):
    prm = ProcessRewardModel.from_pretrained(tiny_prm(tmp_path / "m"), "cpu")
    layer = prm.model.model.layers[0].mlp.down_proj
    weights = torch.zeros_like(layer.weight)
    weights[0, :4] = torch.tensor(
        [1.27, 0.012, -0.346, -1.27]
    )  # steps of .01 (torchao divides by 127 or 127.5)
    layer.weight.data = weights
    full = prm.model.score.weight.clone()
    to_int8(prm.model)
    one = torch.eye(weights.shape[1])[:4]
    found = layer(one)[:, 0].detach()
    assert found.tolist() == pytest.approx([1.27, 0.01, -0.35, -1.27], abs=0.006)
    assert torch.equal(prm.model.score.weight, full)


@installed
@pytest.mark.parametrize("seed", range(4))
def test_scores_lie_near_the_full_models(tmp_path, seed):
    folder = tiny_prm(tmp_path / "m", seed=seed)
    full = load_step_scorer(folder, device="cpu")
    small = PrmSource.at(folder, PrmReading(device="cpu", weights="int8")).open()
    one, other = (np.concatenate(prm.score_many(SOLUTIONS, as_cut=True)) for prm in (full, small))
    assert 0 < np.abs(one - other).max() < 0.1
    # Rounding a model that is small already is the same rounding: nothing depends on the batch.
    alone = [small.score(*solution, as_cut=True) for solution in SOLUTIONS]
    assert np.concatenate(alone) == pytest.approx(other, abs=1e-5)


@installed
def test_rounded_weights_are_not_trained_on_a_problem(tmp_path):
    prm = load_step_scorer(tiny_prm(tmp_path / "m"), device="cpu", weights="int8")
    with pytest.raises(ValueError, match="with whole weights"):
        adapting_losses(prm)


def test_without_torchao_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    source = PrmSource.at(tiny_prm(tmp_path / "m"), PrmReading(device="cpu", weights="int8"))
    with pytest.raises(Exception, match="uv sync --extra int8"):
        source.open()
