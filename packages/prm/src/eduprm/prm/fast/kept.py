"""Hidden states of trees that cannot change, within a bound of memory.

For layers below the lowest trained one. When the bound is reached what is kept
stays and the rest is computed anew each time: over whole epochs, dropping the oldest would drop each before its use.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

__all__ = ["KeptStates"]


class KeptStates:
    """A memory of at most `most_bytes`; `bytes`, `hits` and `misses` say how it is used.

    Examples:
        >>> kept = KeptStates(8)
        >>> [kept.get(key, lambda: torch.ones(1)).item() for key in (b"a", b"b", b"a")]
        [1.0, 1.0, 1.0]
        >>> kept.bytes, kept.hits, kept.misses
        (8, 1, 2)
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = self.hits = self.misses = 0
        self._said = False
        self._states: dict[bytes, torch.Tensor] = {}

    def get(self, key: bytes, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return what is kept under `key`, or compute it and keep it if there is room."""
        state = self._states.get(key)
        if state is not None:
            self.hits += 1
            return state
        self.misses += 1
        state = compute()
        size = state.numel() * state.element_size()
        if self.bytes + size <= self.most_bytes:
            self._states[key] = state.clone()  # not a view of something larger
            self.bytes += size
        elif self.most_bytes and not self._said:
            self._said = True
            warnings.warn(
                f"hidden states of {len(self._states)} trees fill kept_states_mb ({self.most_bytes >> 20} MB); "
                "those of further trees are computed anew at each use",
                stacklevel=2,
            )
        return state
