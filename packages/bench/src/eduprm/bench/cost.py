"""What a forest cost in tokens, at every number of leaves.

Three counts, all without the prompt. *decoded*: tokens the policy really produced, each node once: what a tree
costs. *path*: path tokens summed over leaves: what it would cost without sharing. *distinct*: distinct tokens if
the finished leaves were kept in a trie; for independent samples this is less than what was decoded, because equal
prefixes were decoded again each time. Compare methods by *decoded*.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from eduprm.rank.bootstrap import mean_intervals

COST_SCHEMA: dict[str, pl.DataType] = {
    "problem_id": pl.String(),
    "tree": pl.String(),
    "n": pl.Int32(),
    "leaves": pl.Int32(),
    "decoded": pl.Int64(),
    "path": pl.Int64(),
    "distinct": pl.Int64(),
}
"""Columns of what `token_cost` gives back."""

_NODE_COLUMNS = ["problem_id", "tree", "node_id", "parent_id", "token_ids"]


def token_cost(
    forest: pl.DataFrame, *, ns: Sequence[int] | None = None, order: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Tokens of the first n leaves of every tree, for each n.

    Args:
        forest: a valid forest (see `eduprm.forest.validate_forest`).
        ns: numbers of leaves; None for all leaves of each tree (one row per tree, its ``n`` is its leaves).
        order: columns problem_id, tree, leaf (node id), order: when each leaf was found. None: by node id,
            which is right for independent samples, not for best-first trees.

    Returns:
        A frame of `COST_SCHEMA`, sorted by problem, tree, n. A tree with fewer than n leaves counts what it
        has.

    Raises:
        ValueError: an n below 1, a column is missing, or ``order`` lacks a leaf.

    Examples:
        >>> forest = pl.DataFrame({"problem_id": ["p"] * 3, "tree": ["edu"] * 3, "node_id": [0, 1, 2],
        ...     "parent_id": [None, 0, 0], "token_ids": [[5, 6], [7], [8, 9, 9]]})
        >>> token_cost(forest, ns=[1, 2]).select("n", "leaves", "decoded", "path", "distinct").rows()
        [(1, 1, 3, 3, 3), (2, 2, 6, 8, 6)]
    """
    if lacking := [name for name in _NODE_COLUMNS if name not in forest.columns]:
        raise ValueError(f"forest: column {lacking[0]!r} is missing")
    if ns is not None and (small := [n for n in ns if n < 1]):
        raise ValueError(f"every n must be at least 1, got {small[0]}")
    ranks = _ranks(forest, order)
    rows: list[tuple[str, str, int, int, int, int, int]] = []
    for (problem_id, tree), nodes in forest.select(_NODE_COLUMNS).group_by(
        ["problem_id", "tree"], maintain_order=True
    ):
        costs = _tree_costs(nodes, ranks.get((str(problem_id), str(tree))), f"{problem_id!r}/{tree!r}")
        total = costs.shape[1] - 1
        for n in [total] if ns is None else ns:
            decoded, path, distinct = (int(c) for c in costs[:, min(n, total)])
            rows.append((str(problem_id), str(tree), n, min(n, total), decoded, path, distinct))
    return pl.DataFrame(rows, schema=COST_SCHEMA, orient="row").sort("problem_id", "tree", "n")


def _ranks(forest: pl.DataFrame, order: pl.DataFrame | None) -> dict[tuple[str, str], dict[int, int]]:
    """Per tree: leaf id -> 0, 1, ... in order of finding; empty when no order was given."""
    if order is None:
        return {}
    columns = ["problem_id", "tree", "leaf", "order"]
    if lacking := [name for name in columns if name not in order.columns]:
        raise ValueError(f"order: column {lacking[0]!r} is missing")
    ranks: dict[tuple[str, str], dict[int, int]] = {}
    for problem_id, tree, leaf, _ in order.select(columns).sort("order", "leaf").rows():
        found = ranks.setdefault((problem_id, tree), {})
        found[leaf] = len(found)
    for problem_id, tree in forest.select("problem_id", "tree").unique(maintain_order=True).rows():
        ranks.setdefault((problem_id, tree), {})
    return ranks


def _tree_costs(nodes: pl.DataFrame, ranks: dict[int, int] | None, where: str) -> np.ndarray:
    """Cumulative [3, leaves + 1]: decoded, path and distinct tokens of the first 0, 1, ... leaves."""
    parents = nodes["parent_id"].fill_null(-1).to_numpy()
    tokens: list[list[int]] = nodes["token_ids"].to_list()
    num = len(tokens)
    is_leaf = np.ones(num, dtype=bool)
    is_leaf[parents[parents >= 0]] = False
    leaves = np.flatnonzero(is_leaf).tolist()
    if ranks is not None:
        if unknown := [leaf for leaf in leaves if leaf not in ranks]:
            raise ValueError(f"order: no order for leaf {unknown[0]} of tree {where}")
        leaves.sort(key=lambda leaf: ranks[leaf])
    costs = np.zeros((3, len(leaves) + 1), dtype=np.int64)
    seen_nodes: set[int] = set()
    trie: dict[tuple[int, int], int] = {}
    for position, leaf in enumerate(leaves, start=1):
        path = _path(parents, leaf)
        fresh = [node for node in path if node not in seen_nodes]
        seen_nodes.update(fresh)
        before = len(trie)
        at = 0
        for node in path:
            for token in tokens[node]:
                at = trie.setdefault((at, token), len(trie) + 1)
        costs[:, position] = (
            sum(len(tokens[node]) for node in fresh),
            sum(len(tokens[node]) for node in path),
            len(trie) - before,
        )
    return costs.cumsum(axis=1)


def _path(parents: np.ndarray, leaf: int) -> list[int]:
    path = []
    while leaf >= 0:
        path.append(leaf)
        leaf = int(parents[leaf])
    return path[::-1]


def summarise_cost(cost: pl.DataFrame, *, seed: int, bootstrap: int = 2000) -> pl.DataFrame:
    """Mean tokens per problem of each tree name and n, with a 95 % bootstrap interval on ``decoded``.

    Returns:
        Columns tree, n, leaves, decoded, decoded_low, decoded_high, path, distinct (means), problems.

    Raises:
        ValueError: no rows.

    Examples:
        >>> row = ("p", "edu", 2, 2, 6, 8, 6)
        >>> summarise_cost(pl.DataFrame([row], schema=COST_SCHEMA, orient="row"), seed=0)["decoded"].to_list()
        [6.0]
    """
    if not cost.height:
        raise ValueError("no costs to summarise")
    frames = []
    for (tree, n), rows in cost.sort("tree", "n", "problem_id").group_by(["tree", "n"], maintain_order=True):
        decoded = rows["decoded"].cast(pl.Float64).to_numpy()
        ids = rows["problem_id"].to_list()
        ((low, high),) = mean_intervals(decoded[:, None], ids, seed=seed, bootstrap=bootstrap)
        means = rows.select(pl.col("leaves", "decoded", "path", "distinct").mean()).row(0, named=True)
        frames.append(
            {
                "tree": tree,
                "n": n,
                "leaves": means["leaves"],
                "decoded": means["decoded"],
                "decoded_low": low,
                "decoded_high": high,
                "path": means["path"],
                "distinct": means["distinct"],
                "problems": len(ids),
            }
        )
    return pl.DataFrame(frames)
