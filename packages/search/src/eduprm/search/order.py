"""What the order of a tree's leaves says: a larger tree's beginnings, and orders that were not written down.

A search is a fixed rule, so it can be replayed on its own result without a model: that is how forests of before the
column `order` get one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from eduprm.forest import FOUND_COLUMNS
from eduprm.search.growth import round_room
from eduprm.search.strategies.edu import EduSampling


def replayed(forest: pl.DataFrame, strategy: EduSampling | None) -> pl.DataFrame:
    """A forest with FOUND_COLUMNS that a search did not write, computed from how its trees were grown.

    A fork that waited for a later round and was forbidden there (`max_forks_per_path`) leaves no trace: with
    `max_total_tokens` and several forks at once besides, a round may be read otherwise than it was.

    Args:
        forest: trees grown before searches wrote the columns, all in one way; others are replaced.
        strategy: what EDU trees (or single greedy paths) were grown with: a node with two children is a fork, its first
            child the greedy path. None for independent samples below an empty root, found in order of their ids.

    Raises:
        ValueError: a node of an EDU tree has more than two children.

    Examples:
        A weak fork at the second token, a strong one at the third; a search takes the strong one first.

        >>> nodes = [(0, None, [7], [0.1]), (1, 0, [4], [0.6]), (2, 1, [5], [0.9]), (3, 1, [8], [0.9]),
        ...          (4, 0, [9], [0.6])]
        >>> forest = pl.DataFrame([("p", "a", *node) for node in nodes], orient="row",
        ...     schema=["problem_id", "tree", "node_id", "parent_id", "token_ids", "entropies"])
        >>> replayed(forest, EduSampling())["order"].to_list()
        [None, None, 0, 1, 2]
        >>> replayed(forest, EduSampling(order="chronological"))["order"].to_list()
        [None, None, 0, 2, 1]
        >>> replayed(forest, EduSampling())["greedy"].to_list()
        [None, None, True, False, False]
    """
    frames = []
    for (problem_id, tree), nodes in forest.group_by("problem_id", "tree", maintain_order=True):
        children: list[list[int]] = [[] for _ in range(len(nodes))]
        for node, parent in enumerate(nodes["parent_id"].to_list()):
            if parent is not None:
                children[parent].append(node)
        if strategy is None:
            found = [node for node, own in enumerate(children) if not own]
        elif any(len(own) > 2 for own in children):
            raise ValueError(
                f"tree {tree!r} of {problem_id!r}: expected at most two children a node of an EDU tree, got more; give "
                "no strategy for independent samples"
            )
        else:
            found = _replay(nodes, children, strategy)
        order: list[int | None] = [None] * len(nodes)
        for place, leaf in enumerate(found):
            order[leaf] = place
        greedy = [None if place is None else strategy is not None and place == 0 for place in order]
        frames.append(nodes.with_columns(_column("order", order), _column("greedy", greedy)))
    return pl.concat(frames) if frames else forest.with_columns(_column("order", []), _column("greedy", []))


def _column(name: str, values: Sequence[Any]) -> pl.Series:
    return pl.Series(name, values, dtype=FOUND_COLUMNS[name])


def _replay(nodes: pl.DataFrame, children: list[list[int]], strategy: EduSampling) -> list[int]:
    """The leaves in the order found: the search is a fixed rule, run again on its own result."""
    lengths = nodes["token_ids"].list.len().to_list()
    fork_entropy = nodes["entropies"].list.first().to_list()
    found: list[int] = []
    waiting: list[tuple[float, int, int, int]] = []
    left = strategy.budget.max_total_tokens

    def follow(node: int, start: int) -> None:
        """Walk the greedy path from `node`, whose first token is at `start`, to its leaf; queue its forks."""
        position, number = start, len(found)
        while children[node]:
            position += lengths[node]
            if len(children[node]) == 2:
                entropy = float(fork_entropy[children[node][1]])
                priority = -entropy if strategy.order == "best_first" else float(position)
                heapq.heappush(waiting, (priority, position, number, children[node][1]))
            node = children[node][0]
        found.append(node)
        nonlocal left
        if left is not None:
            left -= position + lengths[node] - start

    follow(0, 0)
    while waiting:
        for node, position in _round(waiting, strategy, left):
            follow(node, position)
    return found


def _round(
    waiting: list[tuple[float, int, int, int]], strategy: EduSampling, left: int | None
) -> list[tuple[int, int]]:
    """Take the forks of one round off the queue, as (node, position); the rule of `EduSampling`."""
    chosen: list[tuple[int, int]] = []
    while waiting and len(chosen) < strategy.parallel_forks:
        entry = heapq.heappop(waiting)
        _, position, _, node = entry
        if left is not None:
            room = round_room(strategy.budget, position, left, first=not chosen)
            if room is None:
                heapq.heappush(waiting, entry)
                break
            left -= room
        chosen.append((node, position))
    return chosen


def leaves_at_threshold(forest: pl.DataFrame, *, threshold: float) -> pl.DataFrame:
    """How many leaves the same best-first search would have found at a higher threshold.

    A best-first search takes forks by falling entropy of those that wait. At a higher threshold it takes the same ones
    until none that waits is above: its tree is the first leaves of this one, up to the first fork at or below the
    threshold. That does not hold for chronological trees, nor with several forks at once.

    Args:
        forest: EDU trees grown best-first, one fork at a time, at a threshold not above this one, with FOUND_COLUMNS.
        threshold: nats.

    Returns:
        One row a tree: problem_id, tree, leaves.

    Examples:
        >>> nodes = [(0, None, [7], [0.1]), (1, 0, [4], [0.6]), (2, 1, [5], [0.9]), (3, 1, [8], [0.9]),
        ...          (4, 0, [9], [0.6])]
        >>> forest = pl.DataFrame([("p", "a", *node) for node in nodes], orient="row",
        ...     schema=["problem_id", "tree", "node_id", "parent_id", "token_ids", "entropies"])
        >>> forest = replayed(forest, EduSampling())
        >>> [leaves_at_threshold(forest, threshold=t)["leaves"].item() for t in (0.5, 0.7, 1.0)]
        [3, 2, 1]
    """
    bound = float(np.float32(threshold))  # the search compared float32 entropies with it
    rows: list[tuple[str, str, int]] = []
    for (problem_id, tree), nodes in forest.group_by("problem_id", "tree", maintain_order=True):
        parents = nodes["parent_id"].to_list()
        first_child: dict[int, int] = {}
        for node, parent in enumerate(parents):
            if parent is not None:
                first_child.setdefault(parent, node)
        entropies = nodes["entropies"].list.first().cast(pl.Float64).to_list()
        places = nodes["order"].to_list()
        leaves = [node for node in range(len(parents)) if node not in first_child]
        late = [
            places[leaf]
            for leaf in leaves
            if (fork := _fork_of(leaf, parents, first_child)) is not None and entropies[fork] <= bound
        ]
        rows.append((str(problem_id), str(tree), min(late, default=len(leaves))))
    schema = {"problem_id": pl.String, "tree": pl.String, "leaves": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _fork_of(leaf: int, parents: list[int | None], first_child: dict[int, int]) -> int | None:
    """The node with which the leaf's branch left another; None on the greedy path."""
    node = leaf
    while (parent := parents[node]) is not None:
        if first_child[parent] != node:
            return node
        node = parent
    return None
