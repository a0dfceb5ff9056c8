"""Which backbones a tree mask fits, how long their paths may be, and whether they keep the mask.

For training and scoring, before the first batch.
"""

from __future__ import annotations

from typing import Any

import torch

from eduprm.prm.attention.choice import attention_inputs
from eduprm.prm.attention.varlen import VARLEN

__all__ = ["check_backbone", "check_mask_honoured", "context_tokens"]

# Recurrent models whose configs name no kinds of layers.
RECURRENT = frozenset({"rwkv", "xlstm"})


def check_backbone(config: Any, *, longest: int) -> None:
    """Refuse backbones whose attention a tree mask cannot express for paths of `longest` tokens.

    Raises:
        ValueError: recurrent or linear-attention layers, or a sliding window shorter than the longest path.
    """
    text = config.get_text_config()
    plain = ["recurrent" if text.model_type in RECURRENT else "full_attention"]
    kinds = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None) or plain
    strange = sorted(set(kinds) - {"full_attention", "sliding_attention"})
    if strange:
        message = f"expected full or sliding attention layers, got {strange} in {text.model_type}"
        if strange != ["chunked_attention"]:
            message += (
                ": a state that runs along the row would leak from branch to branch. The package tree-recurrence forks "
                "such states along a tree, but eduprm is not wired to it; choose a backbone of attention layers alone"
            )
        raise ValueError(message)
    window = _window(text)
    if window is not None and longest > window:
        raise ValueError(
            f"{text.model_type} attends through a window of {window} tokens, which a tree mask replaces: "
            f"expected paths of at most {window} tokens, got {longest}; lower max_length"
        )


def context_tokens(config: Any) -> int | None:
    """Return the most tokens a path may have: the context, or a sliding window shorter than it; None if unbounded."""
    text = config.get_text_config()
    bounds = (getattr(text, "max_position_embeddings", None), _window(text))
    return min((bound for bound in bounds if bound is not None), default=None)


@torch.no_grad()
def check_mask_honoured(model: Any) -> None:
    """Change a token that the last one must not see and look whether the last one's hidden state changes.

    `model` has a token-classification head and may lie on any device. Costs one pass over six tokens.

    Raises:
        ValueError: it does: the model's attention drops the mask, and packed trees would be computed wrongly.
    """
    implementation = model.config._attn_implementation
    weight = model.get_input_embeddings().weight
    if implementation == "flex_attention" and weight.device.type == "cpu":
        return  # compiles for half a minute there, and is of transformers' own making
    ids = torch.tensor([[1, 2, 3], [1, 4, 3]], device=weight.device)
    stops = torch.tensor([[3, 2, 3]] * 2, device=weight.device)
    positions = torch.tensor([[0, 1, 1]] * 2, device=weight.device)
    dtype = weight.dtype
    if implementation == VARLEN and weight.is_cuda and dtype == torch.float32:
        dtype = torch.bfloat16
    was_training = model.training
    model.eval()
    # Adapters are float32 over a half-precision base: autocast, as in training.
    with torch.autocast(weight.device.type, dtype=dtype, enabled=dtype != torch.float32):
        inputs = attention_inputs({"stops": stops}, implementation=implementation, dtype=dtype)
        output = model.base_model(input_ids=ids, position_ids=positions, use_cache=False, **inputs)
    model.train(was_training)
    first, second = output.last_hidden_state[:, 2].double()
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    if (first - second).norm() > tolerance * first.norm():
        raise ValueError(
            f"{type(model).__name__} with attn_implementation={implementation!r} drops the tree mask: a token that may "
            "not be seen changes another's state; choose another attn_implementation"
        )


def _window(text: Any) -> int | None:
    """Return the tokens that a backbone's sliding attention reaches back, None if it has none."""
    kinds = getattr(text, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    return (
        getattr(text, "sliding_window", None)
        if slides and getattr(text, "use_sliding_window", True)
        else None
    )
