"""The rotary embedding as one custom operator, forward and backward.

For decoder layers under torch.compile on a CPU. Inductor of torch 2.14.1 gives NaN gradients there when it fuses the
rotary embedding with its neighbours; an operator is a wall to fusion, and writes heads first at no further cost.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["rotate"]


@torch.library.custom_op("eduprm::rotate", mutates_args=())
def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the halves of each head by the angles of its position.

    `x` [B, L, H, D]; `cos`, `sin` [B, L, 1, D / 2], of one dtype. Returns [B, H, L, D], contiguous.
    """
    batch, length, heads, width = x.shape
    half = width // 2
    out = torch.empty(batch, heads, length, width, dtype=x.dtype, device=x.device)
    first, second, to = x[..., :half], x[..., half:], out.transpose(1, 2)
    torch.mul(first, cos, out=to[..., :half])
    to[..., :half].addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=to[..., half:])
    to[..., half:].addcmul_(first, sin)
    return out


@rotate.register_fake
def _(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    batch, length, heads, width = x.shape
    return x.new_empty(batch, heads, length, width)


@torch.library.custom_op("eduprm::rotate_back", mutates_args=())
def rotate_back(gradient: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn a gradient [B, H, L, D] back by the same angles; returns [B, L, H, D], contiguous."""
    batch, heads, length, width = gradient.shape
    half = width // 2
    out = torch.empty(batch, length, heads, width, dtype=gradient.dtype, device=gradient.device)
    turned = gradient.transpose(1, 2)
    first, second = turned[..., :half], turned[..., half:]
    torch.mul(first, cos, out=out[..., :half])
    out[..., :half].addcmul_(second, sin)
    torch.mul(second, cos, out=out[..., half:])
    out[..., half:].addcmul_(first, sin, value=-1)
    return out


@rotate_back.register_fake
def _(gradient: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    batch, heads, length, width = gradient.shape
    return gradient.new_empty(batch, length, heads, width)


def _keep_angles(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(inputs[1], inputs[2])


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
    cos, sin = ctx.saved_tensors
    return rotate_back(gradient.contiguous(), cos, sin), None, None


rotate.register_autograd(_backward, setup_context=_keep_angles)
