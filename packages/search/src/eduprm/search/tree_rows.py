"""Forest rows by column: flat arrays of one tree, and one frame of many trees.

A tree's tokens lie in one array a column, nodes one after another, with offsets; the frame of a shard is built once
from the arrays of all its trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eduprm.forest import BOUND_COLUMNS, FOUND_COLUMNS, NODE_SCHEMA

_GROWN = pl.Schema({**NODE_SCHEMA, **FOUND_COLUMNS})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeRows:
    """Nodes of one tree, in preorder; N nodes, T tokens.

    Attributes:
        problem_id: of the tree.
        tree: its name within the problem.
        parents: N node numbers, None for a root.
        lengths: N numbers of tokens.
        token_ids: int32 [T].
        logprobs: float32 [T].
        entropies: float32 [T], nats.
        entropies_upper: float32 [T], nats, where `entropies` is a lower bound; else None.
        texts: N texts.
        finishes: N reasons, None for inner nodes.
        orders: N numbers in which leaves were found, None for inner nodes.
        greedy: N marks of the greedy path, None for inner nodes.
    """

    problem_id: str
    tree: str
    parents: list[int | None]
    lengths: list[int]
    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    entropies_upper: NDArray[np.float32] | None
    texts: list[str]
    finishes: list[str | None]
    orders: list[int | None]
    greedy: list[bool | None]

    def frame(self) -> pl.DataFrame:
        """Columns of NODE_SCHEMA and FOUND_COLUMNS, and BOUND_COLUMNS where entropies are bounds."""
        return frame_of([self])


def frame_of(trees: Sequence[TreeRows]) -> pl.DataFrame:
    """One frame of many trees, in their order.

    Returns:
        Columns of NODE_SCHEMA and FOUND_COLUMNS; `entropies_upper` beside them where the trees have bounds.

    Raises:
        ValueError: some trees have bounds and some do not.
    """
    if not trees:
        return pl.DataFrame(schema=_GROWN)
    bounded = {tree.entropies_upper is not None for tree in trees}
    if len(bounded) > 1:
        raise ValueError(
            "some trees have bounds of entropies and some exact ones; build a frame of each kind"
        )
    schema = pl.Schema({**_GROWN, **(BOUND_COLUMNS if bounded == {True} else {})})
    counts = np.array([len(tree.parents) for tree in trees])
    lengths = np.array([length for tree in trees for length in tree.lengths], np.int64)
    values = {
        name: np.concatenate([getattr(tree, name) for tree in trees])
        for name, kind in schema.items()
        if isinstance(kind, pl.List)
    }
    columns: dict[str, Any] = {
        "problem_id": _repeated([tree.problem_id for tree in trees], counts),
        "tree": _repeated([tree.tree for tree in trees], counts),
        "node_id": np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        "parent_id": [parent for tree in trees for parent in tree.parents],
        **_lists(values, lengths, schema),
        "text": [text for tree in trees for text in tree.texts],
        "finish": [finish for tree in trees for finish in tree.finishes],
        "order": [order for tree in trees for order in tree.orders],
        "greedy": [greedy for tree in trees for greedy in tree.greedy],
    }
    return pl.DataFrame({name: columns[name] for name in schema}, schema=schema)


def _repeated(names: list[str], counts: NDArray[np.int64]) -> pl.Series:
    return pl.Series(names, dtype=pl.String).gather(np.repeat(np.arange(len(names)), counts))


def _lists(
    values: dict[str, NDArray[Any]], lengths: NDArray[np.int64], schema: pl.Schema
) -> dict[str, pl.Series]:
    """List columns from flat arrays: runs of `lengths` values each."""
    nodes = np.arange(len(lengths))
    grouped = (
        pl.DataFrame({"node": np.repeat(nodes, lengths), **values})
        .group_by("node", maintain_order=True)
        .agg(pl.col(name) for name in values)
    )
    filled = grouped.height
    if filled < len(lengths):
        # Grouping knows nothing of nodes without tokens: they get the empty row behind the others.
        empty = pl.DataFrame({"node": [-1], **{name: [[]] for name in values}}, schema=grouped.schema)
        places = np.full(len(lengths), filled)
        places[lengths > 0] = np.arange(filled)
        grouped = pl.concat([grouped, empty])[places]
    return {name: grouped[name].cast(schema[name]) for name in values}
