"""1 where the right completions behind a node keep half of their share at the question, each weighed by its likelihood.

Value of a beginning: sum over right leaves below of exp(mean log-prob of the tokens behind the beginning), divided by
the same sum over all leaves; exp of the mean log-prob is one over the perplexity. A node is right, 1, where that is
above 0 and at least `least` times the value at the question, before any token of the tree; else 0.

Source: EpicPRM (arXiv 2503.02382), whose code sums over rollouts of two completers, searches wrong solutions by halves
for the first step that falls below, and draws adaptively. A tree's leaves of one policy in their place, and every node
judged by itself, are our reading: nothing is drawn beyond the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eduprm.label.rules._contract import GradedTrees

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """`least`, in (0, 1]: the share of the question's value that a right step keeps.

    Raises:
        ValueError: another share.
    """

    least: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ValueError(f"expected least above 0 and at most 1, got {self.least}")

    def values(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return 0 or 1 per node, float64 [n]."""
        value, question = _shares(trees)
        return ((value > 0) & (value >= self.least * question[trees.shape.tree] - 1e-12)).astype(np.float64)


def _shares(trees: GradedTrees) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The weighed share of right leaves at the end of each node [n], and before the first token of each tree."""
    shape, right = trees.shape, trees.right
    logprobs, tokens = trees.logprobs(), trees.tokens
    total, good = np.zeros(shape.num_nodes), np.zeros(shape.num_nodes)
    of_tree, good_of_tree = np.zeros(shape.num_trees), np.zeros(shape.num_trees)
    leaf = np.flatnonzero(shape.is_leaf)
    at = leaf.copy()
    behind, count = np.zeros(len(leaf)), np.zeros(len(leaf), dtype=np.int64)
    while len(leaf):  # one step upwards from every leaf at a time
        weight = _likelihood(behind, count)
        np.add.at(total, at, weight)
        np.add.at(good, at, weight * right[leaf])
        behind, count = behind + logprobs[at], count + tokens[at]
        above = shape.parent[at]
        top = above < 0
        weight = _likelihood(behind[top], count[top])
        np.add.at(of_tree, shape.tree[leaf[top]], weight)
        np.add.at(good_of_tree, shape.tree[leaf[top]], weight * right[leaf[top]])
        leaf, at, behind, count = leaf[~top], above[~top], behind[~top], count[~top]
    return good / total, good_of_tree / of_tree


def _likelihood(logprobs: npt.NDArray[np.float64], tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """exp of the mean log-prob; 1 without tokens (a leaf itself), and never 0, so that shares are always defined."""
    return np.exp(np.maximum(logprobs / np.maximum(tokens, 1), -700.0))
