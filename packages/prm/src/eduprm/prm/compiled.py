"""Compile the decoder layers of a classifier, so that a step is not bound by the launching of small kernels.

For training on a GPU. All layers of a model share one compiled code; modules, their names and
their weights stay as they are, so checkpoints and saved folders are the same with and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["compile_layers", "row_unit"]


def compile_layers(model: Any, *, backend: str = "inductor") -> int:
    """Have every decoder layer compiled at its first call; return their number.

    Raises:
        ValueError: the backbone has no single list of decoder layers.
    """
    from eduprm.prm.adapters import decoder_layers

    _, layers = decoder_layers(model)
    for layer in layers:
        layer.compile(backend=backend)
    return len(layers)


def row_unit(batches: Sequence[int]) -> int:
    """Return the multiple to which rows are padded, so that batches of so many tokens have few shapes.

    Full batches, which are most, get one shape; what is less than full one of three more.

    Examples:
        >>> row_unit([8100, 8190, 300])
        2048
    """
    quarter = -(-max(batches, default=1) // 4)
    return quarter + -quarter % 64
