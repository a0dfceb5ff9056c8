"""Every piece once an epoch, in an order drawn anew."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from eduprm.prm.inputs import InputBuilder
    from eduprm.prm.tree import TokenTree

__all__ = ["Curriculum", "shuffled"]


class Curriculum(BaseModel):
    """No options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def orders(
        self,
        pieces: Sequence[TokenTree],
        *,
        epochs: int,
        seed: int,
        backbone: str | Path,
        builder: InputBuilder,
    ) -> list[list[int]]:
        """Return a permutation per epoch."""
        return shuffled(len(pieces), epochs=epochs, seed=seed)


def shuffled(count: int, *, epochs: int, seed: int) -> list[list[int]]:
    """Return a permutation of 0..count - 1 per epoch, which follows from seed and epoch.

    Examples:
        >>> [sorted(order) for order in shuffled(3, epochs=2, seed=0)]
        [[0, 1, 2], [0, 1, 2]]
    """
    orders = []
    for epoch in range(epochs):
        digest = hashlib.sha256(f"eduprm.prm:{seed}:{epoch}".encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:8], "little")).permutation(count)
        orders.append(order.tolist())
    return orders
