"""What the embedded engine and the measuring serve of transformers' architectures, and what they refuse."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
)

from eduprm.search import Request, RequestError, TransformersEngine
from eduprm.search.embedded import TokenScorer


def gpt_neo() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=61, hidden_size=32, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]],
        window_size=4, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return GPTNeoForCausalLM(config).eval()


def bart() -> PreTrainedModel:
    return BartForCausalLM(
        BartConfig(
            vocab_size=61, d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16,
            encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16, max_position_embeddings=64,
            is_decoder=True,
        )
    )  # fmt: skip


def bloom() -> PreTrainedModel:
    return BloomForCausalLM(BloomConfig(vocab_size=61, hidden_size=16, n_layer=1, n_head=2))


def phi3() -> PreTrainedModel:
    torch.manual_seed(0)
    rotations = {
        "rope_type": "longrope", "rope_theta": 10_000.0, "factor": 8.0, "original_max_position_embeddings": 24,
        "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
    }  # fmt: skip
    config = Phi3Config(
        vocab_size=61, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=192, original_max_position_embeddings=24,
        rope_parameters=rotations, sliding_window=None, initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    return Phi3ForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("model", "cause"), [(gpt_neo, "local"), (bart, "position_ids"), (bloom, "position_ids")]
)
def test_models_that_the_engine_would_decode_wrongly_are_refused(model, cause):
    with pytest.raises(ValueError, match=cause):
        TransformersEngine(model(), stop_ids=frozenset({3}))


def test_measuring_refuses_a_model_without_a_context_length():
    with pytest.raises(ValueError, match="max_position_embeddings"):
        TokenScorer(bloom())


def test_texts_of_a_model_with_local_layers_are_measured_as_by_a_plain_forward():
    model = gpt_neo()
    prefix = [5, 9, 14, 33, 8]
    texts = [[7, 6, 20, 31, 40, 41, 42], [7, 6, 21, 50, 51, 52, 53, 54]]
    for text, scores in zip(texts, TokenScorer(model).score(prefix_ids=prefix, texts=texts), strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([prefix + text]), use_cache=False).logits[0, len(prefix) - 1 : -1]
        expected = torch.log_softmax(logits, dim=-1)[range(len(text)), text]
        np.testing.assert_allclose(scores.logprobs, expected, atol=5e-5)


def test_longrope_is_served_up_to_the_length_at_which_its_rotations_change():
    model = phi3()
    engine = TransformersEngine(model, stop_ids=frozenset({3}))
    assert engine.context_length == 24
    with pytest.raises(RequestError, match="context of 24"):
        asyncio.run(engine.generate(Request(prefix_ids=(5,) * 20, max_new_tokens=5)))
    with pytest.raises(ValueError, match="context of 24"):
        TokenScorer(model).score(prefix_ids=[5] * 20, texts=[[6] * 5])
    done = asyncio.run(engine.generate(Request(prefix_ids=(5, 6, 7), max_new_tokens=21)))
    with torch.inference_mode():
        logits = phi3()(torch.tensor([[5, 6, 7, *done.token_ids.tolist()]]), use_cache=False).logits[0, 2:-1]
    expected = torch.log_softmax(logits, dim=-1)[range(len(done.token_ids)), done.token_ids.tolist()]
    np.testing.assert_allclose(done.logprobs, expected, atol=5e-5)
