"""The loss of a policy's teaching is the model's own cross-entropy, whatever its parts are called."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from eduprm.prm.testing import tiny_backbone
from eduprm.teach.examples import Example
from eduprm.teach.settings import WarmupSettings
from eduprm.teach.training import collate, train_adapter


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("llama", {}),
        ("gemma2", {"final_logit_softcapping": 0.5}),
        ("granite", {"logits_scaling": 4.0}),
        ("gpt_neox", {}),
        ("gpt2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
    ],
)
def test_one_step_starts_from_the_models_own_loss(tmp_path, monkeypatch, architecture, settings):
    policy = tiny_backbone(tmp_path / "policy", architecture=architecture, **settings)
    model = AutoModelForCausalLM.from_pretrained(policy)
    batch = [Example([3, 4, 5], [6, 7, 1], 0.0), Example([8, 9], [10, 1], 0.1)]
    inputs = collate([batch])
    model.eval()
    seen = (torch.arange(6) < torch.tensor([[6], [4]])).long()
    expected = model(**inputs, attention_mask=seen, use_cache=False).loss.item()
    said = {}
    monkeypatch.setattr("eduprm.teach.training._Lines.on_log", lambda *_, logs=None, **__: said.update(logs))
    given = WarmupSettings(_cli_parse_args=[], model=str(policy), rise_batches=0, decay_batches=1)
    adapted = train_adapter(given, [batch], tmp_path / "training")
    trained = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert said["loss"] == pytest.approx(expected, abs=1e-3)
