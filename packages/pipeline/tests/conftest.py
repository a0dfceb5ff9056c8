"""A policy of a few hundred weights over an alphabet; `eduprm.search.sglang.testing.Letters` is its tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from eduprm.search import TransformersEngine


@pytest.fixture(scope="session")
def letter_engine() -> Callable[..., TransformersEngine]:
    """Make one: 25 letters and a stop token; a larger `initializer_range` makes it surer of its tokens."""

    def made(initializer_range: float = 0.02) -> TransformersEngine:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=26,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=initializer_range,
        )
        return TransformersEngine(LlamaForCausalLM(config), stop_ids=frozenset({25}))

    return made
