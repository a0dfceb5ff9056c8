"""How long a path may be before a model's positions turn otherwise."""

from __future__ import annotations

from typing import Any

__all__ = ["longrope_tokens"]


def longrope_tokens(config: Any) -> int | None:
    """Return the tokens of a path up to which longrope (Phi-3) keeps its short factors, None with other embeddings.

    One token beyond them turns all positions by the long factors: those of keys that are held, and of other rows of
    the batch, too.

    Args:
        config: a transformers config of a text model; `rope_parameters` may be a table for each kind of layer.

    Examples:
        >>> from types import SimpleNamespace
        >>> longrope_tokens(SimpleNamespace(rope_parameters={"rope_type": "default"}))
        >>> rope = {"rope_type": "longrope", "original_max_position_embeddings": 4096}
        >>> longrope_tokens(SimpleNamespace(rope_parameters=rope))
        4096
        >>> longrope_tokens(SimpleNamespace(rope_parameters={"full_attention": rope}))
        4096
    """
    rope = getattr(config, "rope_parameters", None) or {}
    tables = [part for part in rope.values() if isinstance(part, dict)] or [rope]
    own = getattr(config, "original_max_position_embeddings", None)
    bounds = [
        part.get("original_max_position_embeddings", own)
        for part in tables
        if part.get("rope_type") == "longrope"
    ]
    return min((int(bound) for bound in bounds if bound), default=None)
