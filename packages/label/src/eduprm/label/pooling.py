"""Values under probability-weighted leaves, bottom-up, in log space, without a loop over nodes.

What it is for: value(i) = sum over leaves l below i of P(l | i) * right(l) / sum of P(l | i), where P(l | i) is exp
of the log-probs summed from i down to l. Ours; the plain form stands in the tests.

How: a run of single children is contiguous in preorder and shares one value, so it is collapsed into one segment.
What is left has only real forks; its levels are taken from the deepest up. Within a level, in row order, the children
of one segment are contiguous, so `reduceat` pools them. Masses are kept relative to the best child, so nothing
underflows however long a path is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from eduprm.forest import Topology

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def pool_by_probability(
    shape: Topology, node_logprobs: FloatArray, right: npt.NDArray[np.int64]
) -> FloatArray:
    """Probability-weighted share of right leaves below every node.

    Args:
        shape: Of n nodes.
        node_logprobs: float64 [n], summed log-prob (nats) of each node's own tokens, finite.
        right: int64 [n], 1 at right leaves, else 0.

    Returns:
        float64 [n] in [0, 1]; exactly 0 or 1 where all leaves below are wrong or right.

    Examples:
        >>> import polars as pl
        >>> from eduprm.forest import topology
        >>> frame = pl.DataFrame({"problem_id": ["p"] * 3, "tree": ["t"] * 3, "node_id": [0, 1, 2],
        ...                       "parent_id": [None, 0, 0]})
        >>> pool_by_probability(topology(frame), np.array([0.0, -1000.0, -1001.0]), np.array([0, 1, 0])).round(4)
        array([0.7311, 1.    , 0.    ])
    """
    if shape.num_nodes == 0:
        return np.zeros(0)
    is_child = shape.parent >= 0
    num_children = np.bincount(shape.parent[is_child], minlength=shape.num_nodes)
    # A segment starts at a root or at a child of a fork, and ends at the next node without exactly one child.
    begins = ~is_child | (num_children[shape.parent] != 1)
    starts = np.flatnonzero(begins)
    tails = np.append(starts[1:], shape.num_nodes) - 1
    segment = np.cumsum(begins) - 1
    parent = np.where(is_child[starts], segment[shape.parent[starts]], -1)
    own = np.add.reduceat(node_logprobs, starts)
    # A leaf's segment carries its own log-probs only; a fork's gets its children's pooled mass on the way up.
    value = right[tails].astype(np.float64)
    mass = own.copy()
    for level in _levels(shape, starts, num_children):
        _pool_level(level, parent, own, mass, value)
    return value[segment]


def _levels(shape: Topology, starts: IntArray, num_children: IntArray) -> list[IntArray]:
    """Segments by number of forks above them, deepest first, roots left out; row order within a level."""
    forks = (num_children != 1) & ~shape.is_leaf
    depth = shape.ancestor_sum(forks.astype(np.int64))[starts]
    order = np.argsort(depth, kind="stable")
    bounds = np.flatnonzero(np.diff(depth[order])) + 1
    return np.split(order, bounds)[:0:-1]


def _pool_level(
    level: IntArray, parent: IntArray, own: FloatArray, mass: FloatArray, value: FloatArray
) -> None:
    """Pool the segments of one level into their parents, in place."""
    above = parent[level]
    first = np.flatnonzero(np.append(True, above[1:] != above[:-1]))
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(level))))
    best = np.maximum.reduceat(mass[level], first)
    share = np.exp(mass[level] - best[group])
    total = np.add.reduceat(share, first)
    parents = above[first]
    value[parents] = np.add.reduceat(share * value[level], first) / total
    mass[parents] = own[parents] + best + np.log(total)
