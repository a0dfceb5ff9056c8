"""Tokens a tree cost: decoded once, counted path by path, and kept in a trie.

Source of the three counts: the project's methods page ("count tokens decoded, and show the distinct ones beside
them"). What an engine prefilled is not counted.
"""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import polars as pl

from .ragged import Ragged
from .topology import Topology, topology

IntArray = npt.NDArray[np.int64]


def token_counts(df: pl.DataFrame) -> pl.DataFrame:
    """One row per tree: problem_id, tree, and as Int64 leaves, nodes, unique_tokens, path_tokens, distinct_tokens.

    ``unique_tokens`` is the sum over nodes (what was decoded), ``path_tokens`` the sum over leaves of their
    whole path (what independent decoding would have cost), ``distinct_tokens`` the distinct prefixes among the
    paths: below unique_tokens where siblings begin alike, as high-temperature samples do.

    Examples:
        >>> rows = {"problem_id": ["p"] * 3, "tree": ["ht"] * 3, "node_id": [0, 1, 2], "parent_id": [None, 0, 0],
        ...     "token_ids": [[], [7, 8], [7, 9]]}
        >>> token_counts(pl.DataFrame(rows)).row(0)
        ('p', 'ht', 2, 3, 4, 4, 3)
    """
    shape = topology(df)
    tokens = Ragged.from_series(df["token_ids"].cast(pl.List(pl.Int32)))
    counts = {
        "leaves": shape.is_leaf.astype(np.int64),
        "nodes": np.ones(shape.num_nodes, dtype=np.int64),
        "unique_tokens": tokens.lengths,
        "path_tokens": tokens.lengths * shape.leaves,
    }
    roots = shape.starts[:-1]
    heads = df.select("problem_id", "tree")[roots]
    sums = {
        name: pl.Series(shape.subtree_sum(values)[roots], dtype=pl.Int64) for name, values in counts.items()
    }
    distinct = sums["unique_tokens"].to_numpy() - _repeated_tokens(shape, tokens)
    return heads.with_columns(**sums, distinct_tokens=pl.Series(distinct, dtype=pl.Int64))


def _repeated_tokens(shape: Topology, tokens: Ragged) -> IntArray:
    """Per tree, how many tokens a trie would not need to hold again."""
    trees = _trees_that_repeat(shape, tokens)
    if not trees.any():
        return np.zeros(shape.num_trees, dtype=np.int64)
    # only such trees are walked, token level by token level; an EDU tree forks into different tokens by design
    rows = np.flatnonzero(trees[shape.tree])
    positions = tokens.positions_of(rows)
    above, level, tree = _token_tree(shape, tokens, rows, positions)
    ids = tokens.numbers()[positions].astype(np.int64)
    prefix = np.full(len(tokens.values), -1, dtype=np.int64)  # number of the distinct prefix that ends here
    order = np.argsort(level, kind="stable")
    edges = np.flatnonzero(np.diff(level[order], prepend=-1, append=level.max() + 1))
    known = shape.num_trees
    distinct = np.zeros(len(order), dtype=np.bool_)
    num_ids = int(ids.max()) + 1
    for start, stop in itertools.pairwise(edges):
        at = order[start:stop]
        before = np.where(above[at] < 0, tree[at], prefix[above[at]])
        keys = before * num_ids + ids[at]
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        prefix[positions[at]] = known + number
        known += len(first)
        distinct[at[first]] = True
    return np.bincount(tree[~distinct], minlength=shape.num_trees)


def _trees_that_repeat(shape: Topology, tokens: Ragged) -> npt.NDArray[np.bool_]:
    """Trees in which two siblings begin with the same token."""
    child = np.flatnonzero((shape.parent >= 0) & (tokens.lengths > 0))
    first = tokens.numbers()[tokens.offsets[child]].astype(np.int64)
    keys = pl.Series(shape.parent[child] * (int(first.max(initial=0)) + 1) + first)  # a token id has 32 bits
    marks = np.zeros(shape.num_trees, dtype=np.bool_)
    marks[shape.tree[child[keys.is_duplicated().to_numpy()]]] = True
    return marks


def _token_tree(
    shape: Topology, tokens: Ragged, rows: IntArray, positions: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """For each flat token of the rows: the token before it (-1: none), how many stand before it, its tree."""
    offset = tokens.offsets
    parent = np.maximum(shape.parent, 0)
    # only a root may be empty, so the token before a node's first is its parent's last
    has_above = (shape.parent >= 0) & (tokens.lengths[parent] > 0)
    above_first = np.where(has_above, offset[parent + 1] - 1, -1)
    row = np.repeat(rows, tokens.lengths[rows])
    inside = positions - offset[row]
    above = np.where(inside > 0, positions - 1, above_first[row])
    return above, shape.ancestor_sum(tokens.lengths)[row] + inside, shape.tree[row]
