"""Tree masks for the attention implementations of transformers.

For: turning `stops` into what a backbone takes as its attention mask. Does not know: how rows were packed.
Source: see eduprm.prm.tree for the rule; FlexAttention's mask_mod is a pure function of two indices, so one gather.
The FlexAttention path needs CUDA for training; its mask function is checked on the CPU against the dense mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["check_backbone", "context_tokens", "dense_mask", "flex_mask_function", "tree_mask"]

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


def tree_mask(stops: torch.Tensor, *, implementation: str, dtype: torch.dtype = torch.float32) -> Any:
    """Return the `attention_mask` for `implementation`; None where plain causal attention is already right.

    Raises:
        ValueError: an implementation that cannot take a tree mask.
    """
    if implementation not in SUPPORTED:
        raise ValueError(
            f"expected attn_implementation in {SUPPORTED} for tree masks, got {implementation!r}"
        )
    length = stops.shape[-1]
    if bool((stops == length).all()):
        return None
    if implementation == "flex_attention":
        from torch.nn.attention.flex_attention import create_block_mask

        function = flex_mask_function(stops)
        return create_block_mask(function, stops.shape[0], None, length, length, device=str(stops.device))
    mask = dense_mask(stops)
    if implementation == "sdpa":
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def check_backbone(config: Any, *, longest: int) -> None:
    """Refuse backbones whose attention a tree mask cannot express for paths of `longest` tokens.

    Raises:
        ValueError: recurrent or linear-attention layers, or a sliding window shorter than the longest path.
    """
    text = config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    strange = kinds - {"full_attention", "sliding_attention"}
    if strange:
        raise ValueError(
            f"expected full or sliding attention layers, got {sorted(strange)} in {text.model_type}"
        )
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


def _window(text: Any) -> int | None:
    """Return the tokens that a backbone's sliding attention reaches back, None if it has none."""
    kinds = getattr(text, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    return (
        getattr(text, "sliding_window", None)
        if slides and getattr(text, "use_sliding_window", True)
        else None
    )
