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
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForCausalLM,
    XLNetConfig,
    XLNetLMHeadModel,
)

from eduprm.search import Request, RequestError, TransformersEngine
from eduprm.search.embedded import TokenScorer

SHAPE = {"vocab_size": 61, "hidden_size": 32, "initializer_range": 0.3}
DECODER = {
    **SHAPE, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 16, "num_experts_per_tok": 2, "num_attention_heads": 4, "pad_token_id": 0}


def made(kind: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    return kind(config).eval()


def gpt_neo() -> PreTrainedModel:
    layers = {
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 4,
    }
    return made(GPTNeoForCausalLM, GPTNeoConfig(**SHAPE, **layers, max_position_embeddings=64))


def bart() -> PreTrainedModel:
    part = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}
    sizes = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in part.items()}
    config = BartConfig(vocab_size=61, d_model=16, max_position_embeddings=64, is_decoder=True, **sizes)
    return made(BartForCausalLM, config)


def bloom() -> PreTrainedModel:
    return made(BloomForCausalLM, BloomConfig(vocab_size=61, hidden_size=16, n_layer=1, n_head=2))


def phi3() -> PreTrainedModel:
    rotations = {
        "rope_type": "longrope", "rope_theta": 10_000.0, "factor": 8.0, "original_max_position_embeddings": 24,
        "short_factor": [1.0] * 8, "long_factor": [4.0] * 8,
    }  # fmt: skip
    lengths = {"max_position_embeddings": 192, "original_max_position_embeddings": 24, "sliding_window": None}
    config = Phi3Config(
        **{**DECODER, **lengths}, num_key_value_heads=1, rope_parameters=rotations, pad_token_id=0
    )
    return made(Phi3ForCausalLM, config)


def deepseek() -> PreTrainedModel:
    latent = {
        "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 12,
        "head_dim": 4, "num_key_value_heads": 4,
    }  # fmt: skip
    experts = {**EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
    return made(DeepseekV3ForCausalLM, DeepseekV3Config(**{**DECODER, **latent, **experts}))


def bert() -> PreTrainedModel:
    return made(BertLMHeadModel, BertConfig(**DECODER))


def jamba() -> PreTrainedModel:
    layers = {"attn_layer_period": 2, "attn_layer_offset": 1, "num_key_value_heads": 1, "num_experts": 2}
    return made(JambaForCausalLM, JambaConfig(**DECODER, **layers, mamba_d_state=8, use_mamba_kernels=False))


def afmoe() -> PreTrainedModel:
    layers = {"num_key_value_heads": 2, "head_dim": 8, "layer_types": ["full_attention"] * 2}
    experts = {**EXPERTS, "num_experts": 4, "num_dense_layers": 1}
    return made(AfmoeForCausalLM, AfmoeConfig(**{**DECODER, **layers, **experts}))


def lfm2() -> PreTrainedModel:
    layers = {"num_key_value_heads": 1, "layer_types": ["conv", "full_attention"], "pad_token_id": 0}
    return made(Lfm2ForCausalLM, Lfm2Config(**DECODER, **layers))


def roberta() -> PreTrainedModel:
    return made(RobertaForCausalLM, RobertaConfig(**DECODER, is_decoder=True))


def xlnet() -> PreTrainedModel:
    return made(XLNetLMHeadModel, XLNetConfig(vocab_size=61, d_model=16, n_layer=1, n_head=2, d_inner=16))


@torch.inference_mode()
def plain_logprobs(model: PreTrainedModel, prefix: list[int], text: list[int]) -> torch.Tensor:
    """Of the tokens of `text` behind `prefix`, by one forward over both."""
    logits = model(torch.tensor([prefix + text]), use_cache=False).logits[0, len(prefix) - 1 : -1]
    return torch.log_softmax(logits, dim=-1)[range(len(text)), text]


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
    expected = plain_logprobs(afmoe(), [5, 6, 7, 8], done.token_ids.tolist())
    np.testing.assert_allclose(done.logprobs, expected, atol=5e-5)


@pytest.mark.parametrize("kind", [gpt_neo, bart, deepseek, lfm2, roberta])
def test_texts_of_models_that_the_engine_refuses_are_measured_as_by_a_plain_forward(kind):
    model = kind().train()  # with dropout, were it left so
    prefix = [5, 9, 14, 33, 8]
    texts = [[7, 6, 20, 31, 40, 41, 42], [7, 6, 21, 50, 51, 52, 53, 54]]
    scorer = TokenScorer(model)
    for before in (prefix, prefix[:3], prefix):
        for text, scores in zip(texts, scorer.score(prefix_ids=before, texts=texts), strict=True):
            np.testing.assert_allclose(scores.logprobs, plain_logprobs(model, before, text), atol=5e-5)


def test_longrope_is_served_up_to_the_length_at_which_its_rotations_change():
    model = phi3()
    engine = TransformersEngine(model, stop_ids=frozenset({3}))
    assert engine.context_length == 24
    with pytest.raises(RequestError, match="context of 24"):
        asyncio.run(engine.generate(Request(prefix_ids=(5,) * 20, max_new_tokens=5)))
    with pytest.raises(ValueError, match="context of 24"):
        TokenScorer(model).score(prefix_ids=[5] * 20, texts=[[6] * 5])
    done = asyncio.run(engine.generate(Request(prefix_ids=(5, 6, 7), max_new_tokens=21)))
    expected = plain_logprobs(phi3(), [5, 6, 7], done.token_ids.tolist())
    np.testing.assert_allclose(done.logprobs, expected, atol=5e-5)
