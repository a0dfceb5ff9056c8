"""From nodes to whole solutions: the path of a node, and one row per leaf with its path's tokens and text."""

from __future__ import annotations

from operator import index

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.datatypes import DataType, DataTypeClass

from .errors import ForestError, shown
from .ragged import Ragged, to_lists
from .topology import Topology, topology

_LEAF_COLUMNS: dict[str, DataType | DataTypeClass] = {
    "problem_id": pl.String,
    "tree": pl.String,
    "leaf": pl.Int32,
    "path": pl.List(pl.Int32),
    "token_ids": pl.List(pl.Int32),
    "logprobs": pl.List(pl.Float32),
    "entropies": pl.List(pl.Float32),
    "text": pl.String,
    "finish": pl.String,
    "num_tokens": pl.Int64,
    "logprob_sum": pl.Float64,
}

LEAF_SCHEMA = pl.Schema(_LEAF_COLUMNS)
"""What leaf_paths returns: one row per leaf; lists run from the root's first token to the leaf's last."""


def path_of(df_tree: pl.DataFrame, node_id: int) -> list[int]:
    """Node ids from the root to the node, both included.

    Args:
        df_tree: the rows of exactly one tree, in order.
        node_id: which node of it.

    Errors: ForestError when the frame holds several trees, ValueError when the tree has no such node.

    Examples:
        >>> tree = pl.DataFrame({"problem_id": ["p"] * 3, "tree": ["edu"] * 3, "node_id": [0, 1, 2],
        ...     "parent_id": [None, 0, 1]})
        >>> path_of(tree, 2)
        [0, 1, 2]
    """
    shape = topology(df_tree)
    if shape.num_trees != 1:
        raise ForestError(f"expected the rows of one tree, got those of {shape.num_trees}")
    if not 0 <= node_id < shape.num_nodes:
        raise ValueError(f"expected a node id from 0 to {shape.num_nodes - 1}, got {shown(node_id)}")
    path = [index(node_id)]
    while (above := int(shape.parent[path[-1]])) >= 0:
        path.append(above)
    return path[::-1]


def path_rows(
    shape: Topology, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the paths from the root to each given row, flat, and how many each path has.

    Examples:
        >>> tree = pl.DataFrame({"problem_id": ["p"] * 3, "tree": ["edu"] * 3, "node_id": [0, 1, 2],
        ...     "parent_id": [None, 0, 0]})
        >>> flat, lengths = path_rows(topology(tree), np.array([1, 2]))
        >>> flat.tolist(), lengths.tolist()
        ([0, 1, 0, 2], [2, 2])
    """
    lengths = shape.depth[rows].astype(np.int64) + 1
    flat = np.empty(int(lengths.sum()), dtype=np.int64)
    place = np.cumsum(lengths) - 1  # each path is filled from its end
    current = rows.astype(np.int64)
    while len(current):
        flat[place] = current
        above = shape.parent[current]
        going = above >= 0
        current, place = above[going], place[going] - 1
    return flat, lengths


def leaf_paths(df: pl.DataFrame) -> pl.DataFrame:
    """One row per leaf, in row order, with columns LEAF_SCHEMA: the whole solution that ends there.

    ``logprob_sum`` is the path's log-probability in nats, added in float64.

    Examples:
        >>> from eduprm.forest import NODE_SCHEMA
        >>> rows = [["p", "edu", 0, None, [5], [-0.5], [0.7], "4", None],
        ...         ["p", "edu", 1, 0, [6], [-0.25], [1.2], "2", "stop"]]
        >>> leaves = leaf_paths(pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row"))
        >>> leaves.select("path", "text", "logprob_sum").row(0)
        ([0, 1], '42', -0.75)
    """
    shape = topology(df)
    leaves = np.flatnonzero(shape.is_leaf)
    if not len(leaves):
        return LEAF_SCHEMA.to_frame()
    flat, lengths = path_rows(shape, leaves)
    node_lists = {name: Ragged.from_series(df[name]) for name in ("token_ids", "logprobs", "entropies")}
    positions = node_lists["token_ids"].positions_of(flat)
    num_tokens = np.add.reduceat(node_lists["token_ids"].lengths[flat], np.cumsum(lengths) - lengths)
    joined = df.select("problem_id", "tree", pl.col("node_id").alias("leaf"), "finish")[leaves].with_columns(
        path=to_lists(df["node_id"][flat], lengths),
        text=to_lists(df["text"][flat], lengths).list.join(""),
        num_tokens=pl.Series(num_tokens, dtype=pl.Int64),
        **{name: to_lists(lists.values[positions], num_tokens) for name, lists in node_lists.items()},
    )
    logprob_sum = pl.col("logprobs").cast(pl.List(pl.Float64)).list.sum()
    return joined.with_columns(logprob_sum=logprob_sum).select(LEAF_SCHEMA.names())
