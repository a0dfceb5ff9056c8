"""Where the trees lie in packed rows, read from the rows themselves, and what tells one tree from another.

For hidden states that are kept per tree, whatever rows it is packed into.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Segment", "find_segments"]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Tokens `start` to `end` of row `row`, which see no others; `key` is a hash of ids, positions and stops."""

    row: int
    start: int
    end: int
    key: bytes


def find_segments(batch: Mapping[str, torch.Tensor]) -> list[Segment]:
    """Return the trees of packed rows (`input_ids`, `position_ids`, `stops` [B, L]; `used` [B], real tokens of a row).

    A token at position 0 sees nothing before it, and what follows it up to the next such token hangs under it. Without
    `used` a row's padding counts as tokens of its last tree: never wrong, but then its key changes with the padding.
    """
    ids, positions, stops = (
        batch[name].cpu().numpy().astype(np.int32) for name in ("input_ids", "position_ids", "stops")
    )
    used = batch["used"].tolist() if "used" in batch else [ids.shape[1]] * len(ids)
    found = []
    for row, end in enumerate(used):
        starts = np.flatnonzero(positions[row, :end] == 0)
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), end], strict=True):
            span = slice(start, stop)
            # What reaches beyond the tree (into padding) ends with it.
            local = np.minimum(stops[row, span] - start, stop - start)
            digest = hashlib.blake2b(digest_size=16)
            for array in (ids[row, span], positions[row, span], local):
                digest.update(np.ascontiguousarray(array).tobytes())
            found.append(Segment(row, start, stop, digest.digest()))
    return found
