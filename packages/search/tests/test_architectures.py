"""What the embedded engine and the measuring serve of transformers' architectures, and what they refuse."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from transformers import (
    AfmoeConfig,
    AfmoeForCausalLM,
    BartConfig,
    BartForCausalLM,
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    BloomForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    JambaConfig,
    JambaForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaForCausalLM,
    XLNetConfig,
    XLNetLMHeadModel,
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


def deepseek() -> PreTrainedModel:
    torch.manual_seed(0)
    config = DeepseekV3Config(
        vocab_size=61, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, n_group=1,
        topk_group=1, first_k_dense_replace=1, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=4, qk_nope_head_dim=8,
        v_head_dim=12, head_dim=4, max_position_embeddings=64, initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    return DeepseekV3ForCausalLM(config).eval()


def bert() -> PreTrainedModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=61, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return BertLMHeadModel(config).eval()


def jamba() -> PreTrainedModel:
    torch.manual_seed(0)
    config = JambaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_d_state=8,
        use_mamba_kernels=False, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return JambaForCausalLM(config).eval()


def afmoe() -> PreTrainedModel:
    torch.manual_seed(0)
    config = AfmoeConfig(
        vocab_size=61, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=4, num_experts_per_tok=2,
        num_dense_layers=1, layer_types=["full_attention"] * 2, max_position_embeddings=64, initializer_range=0.3,
        pad_token_id=0,
    )  # fmt: skip
    return AfmoeForCausalLM(config).eval()


def lfm2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=61, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, layer_types=["conv", "full_attention"], max_position_embeddings=64,
        initializer_range=0.3, pad_token_id=0,
    )  # fmt: skip
    return Lfm2ForCausalLM(config).eval()


def roberta() -> PreTrainedModel:
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, initializer_range=0.3, is_decoder=True,
    )  # fmt: skip
    return RobertaForCausalLM(config).eval()


def xlnet() -> PreTrainedModel:
    return XLNetLMHeadModel(XLNetConfig(vocab_size=61, d_model=16, n_layer=1, n_head=2, d_inner=16))


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (gpt_neo, "local"),
        (bart, "position_ids"),
        (bloom, "position_ids"),
        (jamba, "linear_attention"),
        (deepseek, "in pieces.*shape mismatch"),
        (bert, "in pieces.*logits differ"),
        (roberta, "in pieces.*logits differ"),
    ],
)
def test_models_that_the_engine_would_decode_wrongly_are_refused(model, cause):
    with pytest.raises(ValueError, match=cause) as caught:
        TransformersEngine(model(), stop_ids=frozenset({3}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (bloom, "max_position_embeddings, got None"),
        (xlnet, "max_position_embeddings, got -1"),
        (bart, "in pieces"),
        (bert, "in pieces"),
        (jamba, "in pieces.*logits differ"),
    ],
)
def test_measuring_refuses_models_that_it_would_measure_wrongly(model, cause):
    with pytest.raises(ValueError, match=cause):
        TokenScorer(model())


def test_a_model_that_takes_a_view_of_its_attention_is_decoded_as_by_a_plain_forward():
    engine = TransformersEngine(afmoe(), stop_ids=frozenset({3}))
    done = asyncio.run(engine.generate(Request(prefix_ids=(5, 6, 7, 8), max_new_tokens=8)))
    with torch.inference_mode():
        logits = afmoe()(torch.tensor([[5, 6, 7, 8, *done.token_ids.tolist()]]), use_cache=False).logits[
            0, 3:-1
        ]
    expected = torch.log_softmax(logits, dim=-1)[range(len(done.token_ids)), done.token_ids.tolist()]
    np.testing.assert_allclose(done.logprobs, expected, atol=5e-5)


@pytest.mark.parametrize("kind", [gpt_neo, deepseek, lfm2, roberta])
def test_texts_of_models_that_the_engine_refuses_are_measured_as_by_a_plain_forward(kind):
    model = kind()
    prefix = [5, 9, 14, 33, 8]
    texts = [[7, 6, 20, 31, 40, 41, 42], [7, 6, 21, 50, 51, 52, 53, 54]]
    scorer = TokenScorer(model)
    for before in (prefix, prefix[:3], prefix):
        for text, scores in zip(texts, scorer.score(prefix_ids=before, texts=texts), strict=True):
            with torch.inference_mode():
                logits = model(torch.tensor([before + text]), use_cache=False).logits[0, len(before) - 1 : -1]
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
