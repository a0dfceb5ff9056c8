"""Put token trees into rows and rows into arrays, with little padding.

For training and scoring batches. Source: block-diagonal packing as in tree
training for agents (arXiv 2511.00413), first-fit-decreasing bin packing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from eduprm.prm.tree import TokenTree

__all__ = [
    "PAD",
    "ForkTable",
    "NodeTable",
    "PackedRows",
    "choose_rows",
    "fill_up",
    "fit_rows",
    "group_by_length",
    "pack_rows",
    "plan_batches",
]


PAD = 0
"""What stands where no token is, and is seen by none: a tokenizer's own padding may lie beyond a model's embedding."""


class NodeTable(NamedTuple):
    """The N nodes of a batch that hold a token of their own, trees one after the other, each in preorder.

    Attributes: `rows`, `columns` int64 [N], where the node's last token lies; `lengths` int64 [N], its own tokens,
    which end there; `targets`, `weights`, `scales` float32 [N]; `parents` int64 [N], the place in
    this table of the nearest ancestor in it, -1 for none; `trees` int64 [N].
    """

    rows: np.ndarray
    columns: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    scales: np.ndarray
    parents: np.ndarray
    trees: np.ndarray


class ForkTable(NamedTuple):
    """The C choices at the forks of a batch: `eduprm.prm.tree.Forks` with places in the rows.

    Attributes: `rows`, `columns` int64 [C], the token at which paths part; `tokens` int64 [C], the one that follows;
    `values`, `scales` float32 [C]; `groups` int64 [C], equal for the choices of one fork, from 0 without gaps.
    """

    rows: np.ndarray
    columns: np.ndarray
    tokens: np.ndarray
    values: np.ndarray
    scales: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """B rows of L tokens: `input_ids`, `position_ids`, `stops`, `parents` int64 [B, L]; `values` float32 [B, L].

    Token q of a row sees token k exactly when k <= q < stops[k]. `parents` is the column of the token before it on its
    path, -1 for the first of a prompt and for padding; `values` is the target at the token (`TokenTree.token_values`).
    `nodes` and `forks` say what is learned where. `slots` says where each tree lies: (row, offset);
    `used` int64 [B] how many tokens of each row are no padding.
    """

    input_ids: np.ndarray
    position_ids: np.ndarray
    stops: np.ndarray
    parents: np.ndarray
    values: np.ndarray
    nodes: NodeTable
    forks: ForkTable
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
    most = min(len(lengths), 64, max(1, -(-total // longest)))
    for count in range(most, 0, -1):  # from many short rows to one long one
        if total * (1 + total / count / attention_scale) > 1.1 * best_cost:
            break  # attention alone costs more than the best so far, even without any padding
        for slack in (1.0, 1.04):
            rows = fit_rows(lengths, max(longest, int(total / count * slack)))
            width = max(sum(lengths[item] for item in row) for row in rows)
            cost = len(rows) * width * (1 + width / attention_scale)
            if cost < best_cost:
                best, best_cost = rows, cost
    return best


def pack_rows(
    trees: Sequence[TokenTree], rows: Sequence[Sequence[int]], *, pad_id: int, unit: int = 1
) -> PackedRows:
    """Write trees into padded rows; no tree at all gives one row of one padding token, which weighs nothing.

    The last tree's trunk may be seen by the padding behind it, which is harmless (padding is never scored) and makes
    a batch of single chains exactly causal, so that attention needs no mask at all. Rows are a multiple of `unit` long.
    """
    rows = rows or [[]]
    width = max(1, *(sum(trees[item].num_tokens for item in row) for row in rows))
    width += -width % unit
    deepest = max((int(tree.positions.max()) for tree in trees), default=0)
    shape = (len(rows), width)
    slots = _slots(trees, rows)
    packed = PackedRows(
        input_ids=np.full(shape, pad_id, dtype=np.int64),
        position_ids=np.zeros(shape, dtype=np.int64),
        stops=np.full(shape, width, dtype=np.int64),
        parents=np.full(shape, -1, dtype=np.int64),
        values=np.zeros(shape, dtype=np.float32),
        nodes=_node_table(trees, slots),
        forks=_fork_table(trees, slots),
        slots=slots,
        used=np.zeros(len(rows), dtype=np.int64),
    )
    for row, items in enumerate(rows):
        offset = 0
        for item in items:
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
    before = tree.token_parents
    packed.parents[row, span] = np.where(before >= 0, before + offset, -1)
    packed.values[row, span] = tree.token_values


def _slots(trees: Sequence[TokenTree], rows: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    slots = [(-1, -1)] * len(trees)
    for row, items in enumerate(rows):
        offset = 0
        for item in items:
            slots[item] = (row, offset)
            offset += trees[item].num_tokens
    return slots


def _node_table(trees: Sequence[TokenTree], slots: Sequence[tuple[int, int]]) -> NodeTable:
    parts: list[NodeTable] = []
    count = 0
    for index, (tree, (row, offset)) in enumerate(zip(trees, slots, strict=True)):
        own = np.flatnonzero(tree.lengths > 0)
        full = np.full(len(own), 1, dtype=np.int64)
        above = tree.own_parents()
        above[above >= 0] += count  # in the table
        targets = np.nan_to_num(tree.targets[own])
        last = tree.starts[own + 1] - 1 + offset
        weights = np.where(np.isfinite(tree.targets[own]), tree.weights[own], 0.0)
        columns = (
            row * full,
            last,
            tree.lengths[own],
            targets,
            weights,
            tree.scales[own],
            above,
            index * full,
        )
        parts.append(NodeTable(*columns))
        count += len(own)
    return NodeTable(*_columns(parts, NodeTable._fields, {"targets", "weights", "scales"}))


def _fork_table(trees: Sequence[TokenTree], slots: Sequence[tuple[int, int]]) -> ForkTable:
    parts: list[ForkTable] = []
    count = 0
    for tree, (row, offset) in zip(trees, slots, strict=True):
        nodes, tokens, values, scales = tree.forks
        if not len(nodes):
            continue
        last = np.where(nodes >= 0, tree.last_tokens[nodes], tree.num_prompt_tokens - 1)
        known = last >= 0  # without a prompt nothing precedes the first choice
        _, groups = np.unique(nodes, return_inverse=True)
        full = np.full(len(nodes), row, dtype=np.int64)
        columns = (full, last + offset, tokens, values, scales, groups + count)
        parts.append(ForkTable(*(part[known] for part in columns)))
        count += int(groups.max()) + 1
    return ForkTable(*_columns(parts, ForkTable._fields, {"values", "scales"}))


def _columns(
    parts: Sequence[tuple[np.ndarray, ...]], names: Sequence[str], floats: set[str]
) -> list[np.ndarray]:
    kinds = [np.float32 if name in floats else np.int64 for name in names]
    if not parts:
        return [np.zeros(0, dtype=kind) for kind in kinds]
    return [
        np.concatenate(column).astype(kind)
        for column, kind in zip(zip(*parts, strict=True), kinds, strict=True)
    ]


def plan_batches(
    lengths: Sequence[int], *, batch_tokens: int, batch_trees: int | None, orders: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Return the micro-batches of all epochs, each epoch's items in the order given (`eduprm.prm.curricula`).

    Examples:
        >>> plan_batches([4, 4, 4], batch_tokens=8, batch_trees=None, orders=[[2, 0, 1]])
        [[2, 0], [1]]
    """
    batches: list[list[int]] = []
    for order in orders:
        current: list[int] = []
        tokens = 0
        for item in order:
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
