"""Attention of every segment to its own gathered path, as an attention implementation of transformers.

For any model whose attention goes through transformers' AttentionInterface. Kernels: torch.nn.attention.varlen,
else flash-attn; on a CPU SDPA with a mask over all gathered keys, which is exact, wasteful, and what the kernels
are compared with. Causal attention must be aligned at the end (query i of n over m keys sees the first m - n + i +
1): FlashAttention does so since 2.1; `check_kernel` asks the one at hand.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

__all__ = [
    "VARLEN",
    "PathSegments",
    "check_kernel",
    "find_kernel",
    "tree_attention_forward",
    "varlen_attention",
]

VARLEN = "tree_varlen"  # the name under which transformers knows it
HALVES = (torch.bfloat16, torch.float16)
Kernel = Callable[..., torch.Tensor]


class PathSegments(NamedTuple):
    """`SegmentPlan` as tensors on the model's device: `path_index` int64 [G], starts int32 [S + 1]."""

    path_index: torch.Tensor
    query_starts: torch.Tensor
    path_starts: torch.Tensor
    longest_query: int
    longest_path: int


class _GatherPaths(torch.autograd.Function):
    """Select rows; the gradients of a row that many segments see are added up in float32."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.length = states.shape[0]
        return states.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (index,) = ctx.saved_tensors
        grad = grads[0]
        total = grad.new_zeros((ctx.length, *grad.shape[1:]), dtype=torch.float32)
        total = total.index_add(0, index, grad.float())
        return total.to(grad.dtype), None


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: PathSegments,
    *,
    scale: float | None,
) -> torch.Tensor:
    """Return [B, L, Hq, D] for `query` [B, Hq, L, D], `key` and `value` [B, Hkv, L, D], Hq a multiple of Hkv.

    Raises:
        ValueError: keys and values of different sizes, or on a GPU neither bfloat16 nor float16.
    """
    if key.shape != value.shape:
        raise ValueError(
            f"varlen attention gathers keys and values together: expected equal shapes, got {tuple(key.shape)} and "
            f"{tuple(value.shape)}; use attn_implementation='sdpa'"
        )
    batch, heads, length, size = query.shape
    if torch.is_autocast_enabled(query.device.type):
        # Rotary embeddings may have turned queries and keys into float32, as SDPA under autocast turns them back.
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    flat = query.transpose(1, 2).reshape(batch * length, heads, size)
    pairs = torch.cat((key, value), dim=1).transpose(1, 2).flatten(0, 1)
    gathered = _GatherPaths.apply(pairs, segments.path_index)
    keys, values = gathered.split(key.shape[1], dim=1)
    if query.is_cuda:
        if query.dtype not in HALVES:
            raise ValueError(
                f"varlen attention on a GPU: expected bfloat16 or float16, got {query.dtype}; use dtype='bfloat16' or "
                "attn_implementation='sdpa'"
            )
        kernel = find_kernel()
        if kernel is None:
            raise ValueError(_NO_KERNEL)
        output = kernel(flat, keys, values, segments, scale)
    else:
        output = _reference(flat, keys, values, segments, scale)
    return output.reshape(batch, length, heads, size)


_NO_KERNEL = (
    "varlen attention on a GPU: expected torch.nn.attention.varlen with enable_gqa or the package flash-attn, found "
    f"neither with torch {torch.__version__}; use attn_implementation='sdpa'"
)


def _torch_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: PathSegments, scale: float | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    output = varlen_attn(
        query,
        key,
        value,
        segments.query_starts,
        segments.path_starts,
        segments.longest_query,
        segments.longest_path,
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(output, torch.Tensor)  # a pair only if auxiliary outputs were asked for
    return output


def _flash_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: PathSegments, scale: float | None
) -> torch.Tensor:
    function = importlib.import_module("flash_attn").flash_attn_varlen_func
    return function(
        query,
        key,
        value,
        segments.query_starts,
        segments.path_starts,
        segments.longest_query,
        segments.longest_path,
        softmax_scale=scale,
        causal=True,
    )


def _reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: PathSegments, scale: float | None
) -> torch.Tensor:
    """One masked product of all queries with all gathered keys: exact, traceable, T * G in memory."""
    asks, sees = segments.query_starts.long(), segments.path_starts.long()
    rows = torch.arange(query.shape[0], device=query.device)
    columns = torch.arange(key.shape[0], device=query.device)
    row_segment = torch.bucketize(rows, asks[1:], right=True)
    column_segment = torch.bucketize(columns, sees[1:], right=True)
    from_end = (
        sees[row_segment + 1] - asks[row_segment + 1]
    )  # ends aligned: a query's own key is at row + from_end
    mask = (row_segment[:, None] == column_segment) & (columns <= (rows + from_end)[:, None])
    return functional.scaled_dot_product_attention(
        query.transpose(0, 1),
        key.transpose(0, 1),
        value.transpose(0, 1),
        attn_mask=mask,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    ).transpose(0, 1)


@lru_cache(maxsize=1)
def find_kernel() -> Kernel | None:
    """Return the varlen kernel of this installation: torch's, else flash-attn's, else None."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch before 2.10
        pass
    else:
        if {"enable_gqa", "window_size"} <= set(inspect.signature(varlen_attn).parameters):
            return _torch_kernel
    try:
        importlib.import_module("flash_attn")
    except ImportError:
        return None
    return _flash_kernel


@lru_cache(maxsize=8)
def check_kernel(device: torch.device) -> None:
    """Ask the kernel on `device` for the mean of the keys that two queries over four keys see.

    Raises:
        RuntimeError: causal attention is not aligned at the end of the keys.
    """
    queries = torch.zeros(2, 2, 64, device=device, dtype=torch.bfloat16)
    values = (
        torch.arange(4.0, device=device, dtype=torch.bfloat16).view(4, 1, 1).expand(4, 1, 64).contiguous()
    )
    starts = torch.tensor([[0, 2], [0, 4]], device=device, dtype=torch.int32)
    segments = PathSegments(torch.arange(4, device=device), starts[0], starts[1], 128, 128)
    kernel = (find_kernel() or _reference) if device.type == "cuda" else _reference
    means = kernel(queries, torch.zeros_like(values), values, segments, None)[:, 0, 0].tolist()
    if means != [1.0, 1.5]:
        raise RuntimeError(
            f"varlen attention of torch {torch.__version__} on {device}: expected causal attention aligned at the end "
            f"of the keys (means 1.0 and 1.5), got {means}; use attn_implementation='sdpa'"
        )


def tree_attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    tree_segments: PathSegments | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to gathered paths if there are `tree_segments`, else as SDPA does with the mask (or causally without).

    Raises:
        ValueError: attention dropout, or a feature of the model's attention that the kernels do not have.
    """
    extra = [name for name in ("softcap", "s_aux", "position_bias", "cache") if kwargs.get(name) is not None]
    if dropout and tree_segments is not None:
        extra.append("dropout")
    if attention_mask is not None and tree_segments is not None:
        extra.append("mask of the model's own")
    if extra:
        raise ValueError(
            f"varlen attention has no {', '.join(extra)}, which {type(module).__name__} asks for; use "
            "attn_implementation='eager'"
        )
    if tree_segments is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    return varlen_attention(query, key, value, tree_segments, scale=scaling), None


AttentionInterface.register(VARLEN, tree_attention_forward)
