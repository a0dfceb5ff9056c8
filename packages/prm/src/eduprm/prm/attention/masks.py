"""Tree masks for the attention implementations of transformers.

For turning `stops` into what a backbone takes as its attention mask.
Source: see eduprm.prm.tree for the rule; FlexAttention's mask_mod is a pure function of two indices, so one gather.
The FlexAttention path needs CUDA for training; its mask function is checked on the CPU against the dense mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["dense_mask", "flex_mask_function", "tree_mask"]

SUPPORTED = ("sdpa", "eager", "flex_attention")


def dense_mask(stops: torch.Tensor) -> torch.Tensor:
    """Return bool [B, 1, L, L], True where the token of the row may see the token of the column.

    Examples:
        >>> dense_mask(torch.tensor([[3, 2, 3]]))[0, 0].int().tolist()
        [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    index = torch.arange(stops.shape[-1], device=stops.device)
    queries, keys = index[:, None], index[None, :]
    return ((keys <= queries) & (queries < stops[:, None, :]))[:, None]


def flex_mask_function(stops: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Return FlexAttention's mask_mod for `stops` [B, L]."""

    def mask_mod(batch: Any, head: Any, query: Any, key: Any) -> torch.Tensor:
        return (key <= query) & (query < stops[batch, key])

    return mask_mod


def tree_mask(
    stops: torch.Tensor,
    *,
    implementation: str,
    dtype: torch.dtype = torch.float32,
    causal: bool | None = None,
) -> Any:
    """Return the `attention_mask` for `implementation`; None where plain causal attention is already right.

    `causal` says whether it is, for callers who know; None looks, which waits for the GPU.

    Raises:
        ValueError: an implementation that cannot take a tree mask.
    """
    if implementation not in SUPPORTED:
        raise ValueError(
            f"expected attn_implementation in {SUPPORTED} for tree masks, got {implementation!r}"
        )
    length = stops.shape[-1]
    if bool((stops == length).all()) if causal is None else causal:
        return None
    if implementation == "flex_attention":
        from torch.nn.attention.flex_attention import create_block_mask

        function = flex_mask_function(stops)
        return create_block_mask(function, stops.shape[0], None, length, length, device=str(stops.device))
    mask = dense_mask(stops)
    if implementation == "sdpa":
        # On a GPU every layer would make the same numbers of the bools.
        if mask.is_cuda and dtype in (torch.bfloat16, torch.float16):
            return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
