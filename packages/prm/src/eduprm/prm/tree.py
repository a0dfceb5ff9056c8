"""A tree of tokens: one prompt, nodes in preorder, and what each token may see.

For the one structure that training, scoring and benchmarks share; a single solution is a tree without forks.
Source: Euler tours of rooted trees (Tarjan and Vishkin, 1985).

With tokens laid out in preorder, the tour's entry time of a token is its index, so "k's node is an ancestor-or-self
of q's node and k is not later on q's path" (tin[k] <= tin[q] < tout[k] and k <= q) becomes k <= q < stops[k], where
stops[k] is the index at which the subtree of k's node ends. One integer per token carries the whole mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["Forks", "TokenTree", "build_tree"]

IntArray = np.ndarray


class Forks(NamedTuple):
    """The places of a tree where paths part, as a table of the C choices that were taken there, sorted by place.

    Attributes: `nodes` int32 [C], the node at whose last token the paths part, -1 for the prompt; `tokens` int32 [C],
    the token that follows; `values` float32 [C], the target of what follows. A place has at least two rows; nodes
    below one place that begin with the same token are one choice with the mean of their targets. `scales` float32 [C],
    how much the choice counts.
    """

    nodes: IntArray
    tokens: IntArray
    values: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class TokenTree:
    """T tokens and N nodes, both in preorder; the prompt's tokens come first and belong to no node.

    Attributes: `name` for messages; `token_ids`, `positions` (along the path, from 0), `stops` int32 [T]; `parents`
    int32 [N], -1 for children of the prompt; `starts` int32 [N + 1], node i holding tokens starts[i]:starts[i + 1];
    `targets` float32 [N] in [0, 1]; `weights` float32 [N], of losses at steps, 0 meaning none; `scales` float32 [N],
    how much a node counts in losses at tokens and forks; `rows` int64 [N], the nodes' places in the caller's table;
    `owned` bool [N], False for ancestors that another piece of a split tree answers for; `forks`, those that this piece
    answers for, whole even where a piece holds one of the branches alone.
    """

    name: str
    token_ids: IntArray
    positions: IntArray
    stops: IntArray
    parents: IntArray
    starts: IntArray
    targets: np.ndarray
    weights: np.ndarray
    scales: np.ndarray
    rows: IntArray
    owned: np.ndarray
    forks: Forks

    @property
    def num_tokens(self) -> int:
        """Distinct tokens, the prompt included."""
        return len(self.token_ids)

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return int(self.starts[0])

    @property
    def lengths(self) -> IntArray:
        """Tokens of each node itself, [N]."""
        return np.diff(self.starts)

    @property
    def last_tokens(self) -> IntArray:
        """Index of each node's last token, [N]; an empty node stands where its parent stands, -1 if on the prompt."""
        last = self.starts[1:] - 1
        lengths = self.lengths
        if (lengths == 0).any():
            for node in np.flatnonzero(lengths == 0):
                last[node] = last[self.parents[node]] if self.parents[node] >= 0 else -1
        return last

    @property
    def end_positions(self) -> IntArray:
        """Tokens from the prompt's start to each node's end, [N]."""
        return _end_positions(self.num_prompt_tokens, self.lengths, self.parents)

    @property
    def leaves(self) -> IntArray:
        """Nodes without children."""
        has_child = np.zeros(len(self.parents), dtype=bool)
        has_child[self.parents[self.parents >= 0]] = True
        return np.flatnonzero(~has_child)

    @property
    def token_parents(self) -> IntArray:
        """Index of the token before each token on its path, int64 [T]; -1 for the first of the prompt."""
        before = np.arange(-1, self.num_tokens - 1, dtype=np.int64)
        own = np.flatnonzero(self.lengths > 0)
        above = self.parents[own]
        last = np.append(self.last_tokens, -1)[above]  # parent -1 reads the extra last entry
        before[self.starts[own]] = np.where(last >= 0, last, self.num_prompt_tokens - 1)
        return before

    @property
    def token_values(self) -> np.ndarray:
        """Target times scale of the node that holds each token, float32 [T]: the same anywhere inside a node.

        0 for the prompt, for nodes without a target, and for those that another piece of a split tree answers for.
        """
        own = np.where(self.owned & np.isfinite(self.targets), self.targets * self.scales, 0.0)
        return np.concatenate([np.zeros(self.num_prompt_tokens), np.repeat(own, self.lengths)]).astype(
            np.float32
        )

    def own_parents(self) -> IntArray:
        """Return for each of the M nodes with tokens the nearest one above, int64 [M], among these; -1 for none."""
        own = np.flatnonzero(self.lengths > 0)
        place = np.full(len(self.parents) + 1, -1, dtype=np.int64)  # the last entry is the prompt
        place[own] = np.arange(len(own))
        for node in np.flatnonzero(self.lengths == 0):
            place[node] = place[self.parents[node]]
        return place[self.parents[own]]

    @property
    def path_tokens(self) -> int:
        """Tokens if every root-to-leaf path were kept apart, each with its own prompt."""
        return int(self.end_positions[self.leaves].sum())


def _end_positions(num_prompt: int, lengths: IntArray, parents: IntArray) -> IntArray:
    ends = np.empty(len(parents), dtype=np.int32)
    for node, (length, parent) in enumerate(zip(lengths.tolist(), parents.tolist(), strict=True)):
        ends[node] = length + (ends[parent] if parent >= 0 else num_prompt)
    return ends


def _subtree_ends(parents: IntArray, name: str) -> IntArray:
    """Return the exclusive last node of each subtree; refuse an order that is not preorder."""
    count = len(parents)
    ends = list(range(1, count + 1))
    sizes = [1] * count
    for node in range(count - 1, -1, -1):
        parent = int(parents[node])
        if not -1 <= parent < node:
            raise ValueError(f"tree {name}: expected a parent before node {node}, got {parent}")
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[node])
            sizes[parent] += sizes[node]
    for node in range(count):
        if ends[node] != node + sizes[node]:
            raise ValueError(
                f"tree {name}: nodes must be in preorder, the subtree of node {node} is not contiguous"
            )
    return np.asarray(ends, dtype=np.int64)


def build_tree(
    prompt_ids: Sequence[int] | np.ndarray,
    node_ids: Sequence[Sequence[int] | np.ndarray],
    parents: Sequence[int] | np.ndarray,
    *,
    name: str = "tree",
    targets: Sequence[float] | np.ndarray | None = None,
    weights: Sequence[float] | np.ndarray | None = None,
    scales: Sequence[float] | np.ndarray | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    owned: np.ndarray | None = None,
    forks: Forks | None = None,
) -> TokenTree:
    """Lay out nodes given in preorder.

    Without `targets` every target and weight is 0; without `weights` every target weighs 1; without `scales` every node
    counts 1. Without `forks` they are read off the nodes.

    Raises:
        ValueError: no token at all, lists of unequal length, or nodes not in preorder.

    Examples:
        >>> tree = build_tree([7], [[1, 2], [3], [4]], [-1, 0, 0])
        >>> tree.positions.tolist(), tree.stops.tolist()
        ([0, 1, 2, 3, 3], [5, 5, 5, 4, 5])
    """
    count = len(node_ids)
    parent_array = np.asarray(parents, dtype=np.int32)
    lengths = np.fromiter((len(ids) for ids in node_ids), dtype=np.int32, count=count)
    starts = np.concatenate([[len(prompt_ids)], len(prompt_ids) + np.cumsum(lengths)]).astype(np.int32)
    if starts[-1] == 0 or parent_array.shape != (count,):
        raise ValueError(
            f"tree {name}: expected tokens and {count} parents, got {starts[-1]}, {len(parents)}"
        )
    start_positions = _end_positions(len(prompt_ids), lengths, parent_array) - lengths
    owner_shift = np.repeat(start_positions - starts[:-1], lengths)
    body = np.arange(starts[0], starts[-1], dtype=np.int32)
    stops = np.repeat(starts[_subtree_ends(parent_array, name)], lengths) if count else body
    prompt = np.arange(len(prompt_ids), dtype=np.int32)
    flat = [np.asarray(ids, dtype=np.int32) for ids in [prompt_ids, *node_ids]]
    target_array = np.zeros(count) if targets is None else np.asarray(targets, dtype=np.float64)
    scale_array = np.ones(count) if scales is None else np.asarray(scales, dtype=np.float64)
    if forks is None:
        forks = find_forks([] if targets is None else flat[1:], parent_array, target_array, scale_array)
    default_weight = 0.0 if targets is None else 1.0
    return TokenTree(
        name=name,
        token_ids=np.concatenate(flat),
        positions=np.concatenate([prompt, (body + owner_shift).astype(np.int32)]),
        stops=np.concatenate([np.full(len(prompt), starts[-1], dtype=np.int32), stops.astype(np.int32)]),
        parents=parent_array,
        starts=starts,
        targets=target_array.astype(np.float32),
        weights=np.full(count, default_weight, np.float32)
        if weights is None
        else np.asarray(weights, np.float32),
        scales=scale_array.astype(np.float32),
        rows=np.arange(count) if rows is None else np.asarray(rows, dtype=np.int64),
        owned=np.ones(count, dtype=bool) if owned is None else owned,
        forks=forks,
    )


def find_forks(
    node_ids: Sequence[IntArray], parents: IntArray, targets: np.ndarray, scales: np.ndarray
) -> Forks:
    """Return the places where paths part.

    Nodes without tokens are looked through; those without a target and those of scale 0 (all solutions through them
    are left out of training) are no choices.

    Examples:
        >>> ids = [np.array([1]), np.array([2]), np.array([3])]
        >>> forks = find_forks(ids, np.array([-1, 0, 0]), np.array([0.5, 1.0, 0.0]), np.ones(3))
        >>> forks.nodes.tolist(), forks.tokens.tolist(), forks.values.tolist()
        ([0, 0], [2, 3], [1.0, 0.0])
    """
    place = np.full(
        len(node_ids) + 1, -1, dtype=np.int32
    )  # where each node ends; the last entry is the prompt
    choices: dict[int, dict[int, list[int]]] = {}
    for node, (ids, parent) in enumerate(zip(node_ids, parents.tolist(), strict=False)):
        place[node] = node if len(ids) else place[parent]
        if len(ids) and np.isfinite(targets[node]) and scales[node] > 0:
            choices.setdefault(int(place[parent]), {}).setdefault(int(ids[0]), []).append(node)
    rows = [
        (node, token, np.average(targets[own], weights=scales[own]), scales[own].mean())
        for node, tokens in sorted(choices.items())
        if len(tokens) > 1
        for token, own in tokens.items()
    ]
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    kinds = (np.int32, np.int32, np.float32, np.float32)
    return Forks(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))
