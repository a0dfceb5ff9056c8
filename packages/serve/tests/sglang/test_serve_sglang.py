"""A PRM by likelihood on a real SGLang server: the scores of the model in this process, merged and as an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sglang", reason="needs SGLang: uv sync --extra sglang")

import torch
from transformers import AutoTokenizer

from eduprm.policy import PRM_MODEL, STEPS_MODEL, resolve_model
from eduprm.prm import InputFormat, LoraSettings, ProcessRewardModel
from eduprm.prm.adapters import add_lora
from eduprm.prm.config import Scoring
from eduprm.prm.loading import load_language_model
from eduprm.prm.saving import save_prm
from eduprm.serve.language_model import LanguageModelPrm

pytestmark = pytest.mark.sglang

SOLUTIONS = [
    ("What is 2 + 3 + 4?", ["2 + 3 = 5\n", "5 + 4 = 9\n", "#### 9"]),
    ("What is 2 + 3 + 4?", ["2 + 3 = 6\n", "6 + 4 = 10\n", "#### 10"]),
    ("What is 71 - 9?", ["71 - 9 = 62\n", "#### 62"]),
]


@pytest.fixture(scope="module")
def local() -> list[list[float]]:
    prm = ProcessRewardModel.from_pretrained(resolve_model(PRM_MODEL), "cpu")
    return prm.score_many(SOLUTIONS)


def close(results: list, expected: list[list[float]]) -> None:
    assert [one.rejected for one in results] == [None] * len(expected)
    for one, scores in zip(results, expected, strict=True):
        assert one.scores == pytest.approx(scores, abs=2e-3)


def test_the_merged_model_on_a_server_scores_as_in_this_process(local, serving, tmp_path):
    folder = Path(resolve_model(PRM_MODEL))
    with serving(str(folder), tmp_path) as url:
        prm = LanguageModelPrm.from_pretrained(url, folder)
        close(prm.score_steps(SOLUTIONS), local)
        # Alone, and once more: what the server holds of a prefix changes nothing.
        close(prm.score_steps(SOLUTIONS[1:2]), local[1:2])
    assert local[0][0] > local[1][0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="SGLang's LoRA layers want CUDA")
def test_an_adapter_beside_the_policy_scores_as_the_merged_model(serving, tmp_path):
    policy, merged = resolve_model(STEPS_MODEL), tmp_path / "prm"
    model = add_lora(load_language_model(policy), LoraSettings(rank=8, alpha=16), last_layers=4)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.02
    tokenizer = AutoTokenizer.from_pretrained(policy)
    form = InputFormat(kind="plain", template="{problem}\n")
    save_prm(
        model, tokenizer, form, merged,
        dtype=torch.float32, notes={}, scoring=Scoring(kind="likelihood"),
    )  # fmt: skip
    expected = ProcessRewardModel.from_pretrained(merged, "cpu").score_many(SOLUTIONS)
    lora = ("--enable-lora", "--lora-backend", "torch_native", "--lora-paths", f"prm={merged / 'adapter'}")
    with serving(policy, tmp_path, *lora) as url:
        with_adapter = LanguageModelPrm.from_pretrained(url, merged, adapter="prm").score_steps(SOLUTIONS)
        without = LanguageModelPrm.from_pretrained(url, merged).score_steps(SOLUTIONS)
    # The adapter's file is in half precision.
    for one, bare, scores in zip(with_adapter, without, expected, strict=True):
        assert one.scores == pytest.approx(scores, abs=1e-2)
        assert bare.scores != pytest.approx(scores, abs=2e-2)
