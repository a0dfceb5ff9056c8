"""What growing one tree cost its engine: tokens decoded, prefix tokens reused, prefix tokens computed again.

The rule: a request has to compute its prefix except for what the engine still holds (`cached_tokens`). Of what it
did compute, those tokens are *computed again* that this tree had sent in a prefix or decoded before; a path's last
token excepted, whose keys and values nobody has needed yet. So the last token of a fork's prefix, the runner-up
itself, is new; the prompt of a second sample from the same prompt is not.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eduprm.search.contract import Completion, Engine, Request

COST_SCHEMA = pl.Schema(
    {
        "problem_id": pl.String(),
        "tree": pl.String(),
        "requests": pl.Int64(),
        "unique_tokens": pl.Int64(),
        "prefix_tokens": pl.Int64(),
        "cached_tokens": pl.Int64(),
        "recomputed_tokens": pl.Int64(),
    }
)
"""One row a tree: requests sent, distinct tokens of the tree, and over its requests the sum of prefix tokens, of those
served from held prefixes, and of those computed again."""


class Meter:
    """An engine that counts for one tree; everything else it leaves to the engine behind it.

    Attributes:
        requests: answered so far.
        prefix_tokens: of all their prefixes.
        cached_tokens: of those, what the engine held.
        recomputed_tokens: of those, what the tree had sent or decoded before and was computed again.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: list[NDArray[np.int64]] = []
        self.requests = 0
        self.prefix_tokens = 0
        self.cached_tokens = 0
        self.recomputed_tokens = 0

    @property
    def stop_ids(self) -> frozenset[int]:
        """Of the engine."""
        return self._engine.stop_ids

    @property
    def context_length(self) -> int:
        """Of the engine."""
        return self._engine.context_length

    async def generate(self, request: Request) -> Completion:
        """Continue the prefix, and count."""
        prefix = np.array(request.prefix_ids, np.int64)  # the engine says which ids are none
        known = max((_common(prefix, before) for before in self._known), default=0)
        place = len(self._known)
        self._known.append(prefix)
        done = await self._engine.generate(request)
        self._known[place] = np.concatenate([prefix, done.token_ids[:-1]])
        self.requests += 1
        self.prefix_tokens += len(prefix)
        self.cached_tokens += done.cached_tokens
        self.recomputed_tokens += max(known - done.cached_tokens, 0)
        return done


def _common(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """Length of the common prefix."""
    length = min(len(a), len(b))
    if not length:
        return 0
    same = a[:length] == b[:length]
    first = int(same.argmin())  # the first that differs; 0 as well where none does
    return length if same[first] else first
