"""Put token trees into rows and rows into arrays, with little padding.

For: training and scoring batches. Does not know: tensors, labels' meaning. Source: block-diagonal packing as in tree
training for agents (arXiv 2511.00413), first-fit-decreasing bin packing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eduprm.prm.tree import TokenTree

__all__ = ["PackedRows", "choose_rows", "fill_up", "fit_rows", "group_by_length", "pack_rows", "plan_batches"]


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """B rows of L tokens: `input_ids`, `position_ids`, `stops` int64 [B, L]; `targets`, `weights` float32 [B, L].

    Token q of a row sees token k exactly when k <= q < stops[k]. `slots` says where each tree lies: (row, offset);
    `used` int64 [B] how many tokens of each row are no padding.
    """

    input_ids: np.ndarray
    position_ids: np.ndarray
    stops: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    slots: list[tuple[int, int]]
    used: np.ndarray


def fit_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bin-pack items into rows of at most `capacity` tokens (first fit, longest first); longer items get own rows.

    Examples:
        >>> fit_rows([3, 5, 2], 5)
        [[1], [0, 2]]
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((row for row, room in enumerate(free) if room >= lengths[item]), None)
        if place is None:
            rows.append([])
            free.append(max(capacity, lengths[item]))
            place = len(rows) - 1
        rows[place].append(item)
        free[place] -= lengths[item]
    return rows


def choose_rows(lengths: Sequence[int], *, attention_scale: int = 2048) -> list[list[int]]:
    """Pick the row length that costs least: padding against attention between trees that cannot see each other.

    A row of L tokens is taken to cost L * (1 + L / attention_scale): a dense mask computes all L * L scores. Measured
    on a CPU (hidden size 576, training): 4 times the hidden size, see docs/prm.md.
    """
    if not lengths:
        return []
    longest, total = max(lengths), sum(lengths)
    best: list[list[int]] = []
    best_cost = float("inf")
    for count in range(1, min(len(lengths), 64) + 1):
        for slack in (1.0, 1.04):
            rows = fit_rows(lengths, max(longest, int(total / count * slack)))
            width = max(sum(lengths[item] for item in row) for row in rows)
            cost = len(rows) * width * (1 + width / attention_scale)
            if cost < best_cost:
                best, best_cost = rows, cost
        if total / count < longest:
            break
    return best


def pack_rows(trees: Sequence[TokenTree], rows: Sequence[Sequence[int]], *, pad_id: int) -> PackedRows:
    """Write trees into padded rows; no tree at all gives one row of one padding token, which weighs nothing.

    The last tree's trunk may be seen by the padding behind it, which is harmless (padding is never scored) and makes
    a batch of single chains exactly causal, so that attention needs no mask at all.
    """
    rows = rows or [[]]
    width = max(1, *(sum(trees[item].num_tokens for item in row) for row in rows))
    deepest = max((int(tree.positions.max()) for tree in trees), default=0)
    shape = (len(rows), width)
    packed = PackedRows(
        input_ids=np.full(shape, pad_id, dtype=np.int64),
        position_ids=np.zeros(shape, dtype=np.int64),
        stops=np.full(shape, width, dtype=np.int64),
        targets=np.zeros(shape, dtype=np.float32),
        weights=np.zeros(shape, dtype=np.float32),
        slots=[(-1, -1)] * len(trees),
        used=np.zeros(len(rows), dtype=np.int64),
    )
    for row, items in enumerate(rows):
        offset = 0
        for item in items:
            packed.slots[item] = (row, offset)
            _write(packed, trees[item], row, offset)
            offset += trees[item].num_tokens
        packed.used[row] = offset
        if offset == 0:
            continue
        # Padding goes on counting, so that a chain stays one run of positions, but never past real ones.
        first = packed.position_ids[row, offset - 1] + 1
        packed.position_ids[row, offset:] = np.minimum(first + np.arange(width - offset), deepest)
        line = packed.stops[row, :offset]
        line[line == offset] = width
    return packed


def _write(packed: PackedRows, tree: TokenTree, row: int, offset: int) -> None:
    span = slice(offset, offset + tree.num_tokens)
    packed.input_ids[row, span] = tree.token_ids
    packed.position_ids[row, span] = tree.positions
    packed.stops[row, span] = tree.stops + offset
    labelled = np.flatnonzero((tree.weights > 0) & (tree.lengths > 0))
    places = tree.last_tokens[labelled] + offset
    packed.targets[row, places] = tree.targets[labelled]
    packed.weights[row, places] = tree.weights[labelled]


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, batch_trees: int | None, epochs: int, seed: int
) -> list[list[int]]:
    """Return the micro-batches of all epochs, each epoch in an order of its own that follows from seed and epoch.

    Examples:
        >>> plan = plan_batches([4, 4, 4], batch_tokens=8, batch_trees=None, epochs=1, seed=0)
        >>> sorted(item for batch in plan for item in batch)
        [0, 1, 2]
    """
    batches: list[list[int]] = []
    for epoch in range(epochs):
        digest = hashlib.sha256(f"eduprm.prm:{seed}:{epoch}".encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:8], "little")).permutation(len(lengths))
        current: list[int] = []
        tokens = 0
        for item in order.tolist():
            full = batch_trees is not None and len(current) >= batch_trees
            if current and (full or tokens + lengths[item] > batch_tokens):
                batches.append(current)
                current, tokens = [], 0
            current.append(item)
            tokens += lengths[item]
        batches.append(current)
    return batches


def fill_up(plan: Sequence[Sequence[int]], *, processes: int) -> list[list[int]]:
    """Append empty micro-batches until every process has the same number; they take part and weigh nothing.

    Examples:
        >>> fill_up([[0, 1], [2], [3]], processes=2)
        [[0, 1], [2], [3], []]
    """
    return [*map(list, plan), *([] for _ in range(-len(plan) % processes))]


def group_by_length(lengths: Sequence[int], *, batch_tokens: int) -> list[list[int]]:
    """Group items of like length into batches of at most `batch_tokens` padded tokens (at least one item each).

    Examples:
        >>> group_by_length([9, 3, 3, 8], batch_tokens=18)
        [[0, 3], [1, 2]]
    """
    batches: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches
