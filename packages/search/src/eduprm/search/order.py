"""The order in which a finished tree's leaves were found, read off the tree itself.

The search is a fixed rule, so it can be replayed on its own result without a model: the first n leaves in this order
are what the same search with a budget of n leaves would have given. One tree thus answers for every smaller N.
"""

from __future__ import annotations

import heapq

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
