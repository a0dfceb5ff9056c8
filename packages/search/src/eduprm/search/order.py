"""The order in which a finished tree's leaves were found, read off the tree itself.

The search is a fixed rule, so it can be replayed on its own result without a model: the first n leaves in this order
are what the same search with a budget of n leaves would have given. One tree thus answers for every smaller N.
"""

from __future__ import annotations

import heapq

import numpy as np
import polars as pl

from eduprm.search.budget import Budget
from eduprm.search.edu import Order
from eduprm.search.growth import round_room

ORDER_SCHEMA = {"problem_id": pl.String, "tree": pl.String, "leaf": pl.Int32, "order": pl.Int32}


def leaf_order(
    forest: pl.DataFrame,
    *,
    order: Order = "best_first",
    parallel_forks: int = 1,
    budget: Budget | None = None,
) -> pl.DataFrame:
    """Number the leaves of every tree as they were found.

    Args:
        forest: nodes of any number of trees. A node with two children is a fork, its first child the greedy
            path; the children of an empty root with more than two are samples, found in order of their ids.
        order: the policy the trees were grown with.
        parallel_forks: likewise.
        budget: likewise; it decides how a round is filled, and so matters only where `parallel_forks` is above 1
            and `max_total_tokens` is set.

    Returns:
        One row a leaf: problem_id, tree, leaf (node id), order (0 for the first).

    Examples:
        A weak fork at the second token, a strong one at the third; a search takes the strong one first.

        >>> nodes = [(0, None, [7], [0.1]), (1, 0, [4], [0.6]), (2, 1, [5], [0.9]), (3, 1, [8], [0.9]),
        ...          (4, 0, [9], [0.6])]
        >>> forest = pl.DataFrame([("p", "edu", *node) for node in nodes], orient="row",
        ...     schema=["problem_id", "tree", "node_id", "parent_id", "token_ids", "entropies"])
        >>> leaf_order(forest).select("leaf", "order").rows()
        [(2, 0), (3, 1), (4, 2)]
        >>> leaf_order(forest, order="chronological").select("leaf", "order").rows()
        [(2, 0), (4, 1), (3, 2)]
    """
    rows: list[tuple[str, str, int, int]] = []
    for (problem_id, tree), nodes in forest.group_by("problem_id", "tree", maintain_order=True):
        for place, leaf in enumerate(_replay(nodes, order, parallel_forks, budget)):
            rows.append((str(problem_id), str(tree), leaf, place))
    return pl.DataFrame(rows, schema=ORDER_SCHEMA, orient="row")


def _replay(nodes: pl.DataFrame, order: Order, parallel_forks: int, budget: Budget | None) -> list[int]:
    children: list[list[int]] = [[] for _ in range(len(nodes))]
    for node, parent in enumerate(nodes["parent_id"].to_list()):
        if parent is not None:
            children[parent].append(node)
    if any(len(own) > 2 for own in children) or not _is_edu(nodes, children):
        return [node for node, own in enumerate(children) if not own]
    lengths = nodes["token_ids"].list.len().to_list()
    fork_entropy = nodes["entropies"].list.first().to_list()
    found: list[int] = []
    waiting: list[tuple[float, int, int, int]] = []
    left = None if budget is None else budget.max_total_tokens

    def follow(node: int, start: int) -> None:
        """Walk the greedy path from `node`, whose first token is at `start`, to its leaf; queue its forks."""
        position, number = start, len(found)
        while children[node]:
            position += lengths[node]
            if len(children[node]) == 2:
                entropy = float(fork_entropy[children[node][1]])
                priority = -entropy if order == "best_first" else float(position)
                heapq.heappush(waiting, (priority, position, number, children[node][1]))
            node = children[node][0]
        found.append(node)
        nonlocal left
        if left is not None:
            left -= position + lengths[node] - start

    follow(0, 0)
    while waiting:
        for node, position in _round(waiting, parallel_forks, budget, left):
            follow(node, position)
    return found


def _round(
    waiting: list[tuple[float, int, int, int]], parallel_forks: int, budget: Budget | None, left: int | None
) -> list[tuple[int, int]]:
    """Take the forks of one round off the queue, as (node, position); the rule of `EduSampling`."""
    chosen: list[tuple[int, int]] = []
    while waiting and len(chosen) < parallel_forks:
        entry = heapq.heappop(waiting)
        _, position, _, node = entry
        if budget is not None and left is not None:
            room = round_room(budget, position, left, first=not chosen)
            if room is None:
                heapq.heappush(waiting, entry)
                break
            left -= room
        chosen.append((node, position))
    return chosen


def _is_edu(nodes: pl.DataFrame, children: list[list[int]]) -> bool:
    """Whether the two children of every fork stand at one distribution, as EDU's do and two samples' may not."""
    first = nodes["entropies"].list.first().to_list()
    tokens = nodes["token_ids"].list.first().to_list()
    return all(
        first[own[0]] == first[own[1]] and tokens[own[0]] != tokens[own[1]]
        for own in children
        if len(own) == 2
    )


def leaves_at_threshold(forest: pl.DataFrame, order: pl.DataFrame, *, threshold: float) -> pl.DataFrame:
    """How many leaves the same best-first search would have found at a higher threshold.

    A best-first search takes forks by falling entropy of those that wait. At a higher threshold it takes the same ones
    until none that waits is above: its tree is the first leaves of this one, up to the first fork at or below the
    threshold. That does not hold for chronological trees, nor with several forks at once.

    Args:
        forest: trees grown best-first, one fork at a time, at a threshold not above this one.
        order: their `leaf_order`.
        threshold: nats.

    Returns:
        One row a tree: problem_id, tree, leaves.

    Examples:
        >>> nodes = [(0, None, [7], [0.1]), (1, 0, [4], [0.6]), (2, 1, [5], [0.9]), (3, 1, [8], [0.9]),
        ...          (4, 0, [9], [0.6])]
        >>> forest = pl.DataFrame([("p", "edu", *node) for node in nodes], orient="row",
        ...     schema=["problem_id", "tree", "node_id", "parent_id", "token_ids", "entropies"])
        >>> order = leaf_order(forest)
        >>> [leaves_at_threshold(forest, order, threshold=t)["leaves"].item() for t in (0.5, 0.7, 1.0)]
        [3, 2, 1]
    """
    bound = float(np.float32(threshold))  # the search compared float32 entropies with it
    places = {row[:3]: row[3] for row in order.select(list(ORDER_SCHEMA)).iter_rows()}
    rows: list[tuple[str, str, int]] = []
    for (problem_id, tree), nodes in forest.group_by("problem_id", "tree", maintain_order=True):
        parents = nodes["parent_id"].to_list()
        first_child: dict[int, int] = {}
        for node, parent in enumerate(parents):
            if parent is not None:
                first_child.setdefault(parent, node)
        entropies = nodes["entropies"].list.first().cast(pl.Float64).to_list()
        leaves = [node for node in range(len(parents)) if node not in first_child]
        late = [
            places[str(problem_id), str(tree), leaf]
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
