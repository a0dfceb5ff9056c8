"""Attention for rows of different lengths, without repeating the key-value heads.

transformers' own SDPA path copies keys and values once per query head of a group as soon as a mask is given. Here
the heads of a group become query positions of one key-value head: the same sums, a third of the memory traffic
for SmolLM2 (9 heads over 3). Registered under a name of its own; a model uses it only inside the engine.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

GROUPED = "eduprm_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of grouped heads in one call per key-value head.

    Args:
        module: the attention layer (unused; part of transformers' interface).
        query: [batch, heads, new, dim].
        key: [batch, kv_heads, keys, dim].
        value: like `key`.
        attention_mask: additive or bool, [batch, 1, new, keys]; None for plain causal attention, the new tokens last.
        scaling: of the scores; None for 1 / sqrt(dim).
        dropout: must be 0: this is inference.
        softcap: must be None: capped scores are not served.
        s_aux: must be None: neither are attention sinks.

    Returns:
        [batch, new, heads, dim], and None for the weights, which are never held.
    """
    if dropout:
        raise ValueError(f"grouped attention expects no dropout, got {dropout}: it serves inference only")
    if softcap is not None or s_aux is not None:
        raise ValueError(
            "grouped attention expects plain scores, got a model that caps them or has attention sinks: "
            "serve it with SGLang"
        )
    batch, heads, new, dim = query.shape
    if attention_mask is None:
        keys = key.shape[2]
        seen = torch.ones(new, keys, dtype=torch.bool, device=query.device).tril(keys - new)
        attention_mask = seen[None, None]
    kv_heads = key.shape[1]
    group = heads // kv_heads
    mask = attention_mask if new == 1 else attention_mask.repeat(1, 1, group, 1)
    out = scaled_dot_product_attention(
        query.reshape(batch, kv_heads, group * new, dim), key, value, attn_mask=mask, scale=scaling
    )
    return out.reshape(batch, heads, new, dim).transpose(1, 2), None


AttentionInterface.register(GROUPED, grouped_attention)
AttentionMaskInterface.register(GROUPED, sdpa_mask)
