"""One decoder layer of the Llama family as a plain function of tensors.

For eager and compiled training on a CPU. Attention is two batched products with the query heads of a key head folded
into rows: the backward pass of SDPA's CPU kernel takes several times as long. Source: Llama (arXiv 2302.13971), grouped
queries (arXiv 2305.13245), LoRA (arXiv 2106.09685).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional

from eduprm.prm.fast.rope import rotate

__all__ = ["Layer", "Linear", "Shape", "decoder_layer", "rms_norm"]


class Linear(NamedTuple):
    """A linear map and its adapter in the compute dtype: y = x Wᵀ + bias + (x Aᵀ) Bᵀ, the scale inside B."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None


class Layer(NamedTuple):
    """The weights of one layer; `q_norm` and `k_norm` [D] where the family has them (Qwen3)."""

    attention_norm: torch.Tensor
    mlp_norm: torch.Tensor
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    gate: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Shape:
    """What is not a tensor: heads, key heads, width of a head, scale of the scores, epsilon of the norms."""

    heads: int
    key_heads: int
    width: int
    scale: float
    epsilon: float


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Root-mean-square norm over the last dimension, computed in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype) * weight


def _apply(x: torch.Tensor, linear: Linear) -> torch.Tensor:
    y = functional.linear(x, linear.weight, linear.bias)
    if linear.a is None or linear.b is None:
        return y
    return y + functional.linear(functional.linear(x, linear.a), linear.b)


def decoder_layer(
    x: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    bias: torch.Tensor,
    layer: Layer,
    shape: Shape,
    activation: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the layer's output [B, L, C] for `x` [B, L, C].

    `cos`, `sin` [B, L, 1, D / 2] in the dtype of `x`; `bias` float32 [B, 1, 1, L, L], 0 where the row's token sees the
    column's and very negative elsewhere.
    """
    batch, length, _ = x.shape
    groups = shape.heads // shape.key_heads
    h = rms_norm(x, layer.attention_norm, shape.epsilon)
    q = _apply(h, layer.q).view(batch, length, shape.heads, shape.width)
    k = _apply(h, layer.k).view(batch, length, shape.key_heads, shape.width)
    v = _apply(h, layer.v).view(batch, length, shape.key_heads, shape.width).transpose(1, 2)
    if layer.q_norm is not None and layer.k_norm is not None:
        q, k = rms_norm(q, layer.q_norm, shape.epsilon), rms_norm(k, layer.k_norm, shape.epsilon)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    folded = q.reshape(batch, shape.key_heads, groups * length, shape.width)
    scores = torch.matmul(folded, k.transpose(-1, -2))
    scores = scores.view(batch, shape.key_heads, groups, length, length).float() * shape.scale + bias
    seen = torch.softmax(scores, -1).to(x.dtype).view(batch, shape.key_heads, groups * length, length)
    mixed = torch.matmul(seen, v).view(batch, shape.heads, length, shape.width)
    x = x + _apply(mixed.transpose(1, 2).reshape(batch, length, -1), layer.o)
    h = rms_norm(x, layer.mlp_norm, shape.epsilon)
    return x + _apply(activation(_apply(h, layer.gate)) * _apply(h, layer.up), layer.down)
