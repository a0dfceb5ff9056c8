"""The share of right rollouts from the end of a solution's step (Math-Shepherd, arXiv 2312.08935).

For trees of the strategies `rollouts` and `uncertain_first`: a solution goes on as the first child of its nodes, all
other children begin rollouts. `uniform` says something else there: a step's share would count the rollouts of all later
steps too, so a step before many good rollouts of one late step would be worth what that late step is.

* A node of a solution with rollouts at its end is worth the share of right ones among them, and weighs 1.
* A leaf of a solution is worth its own answer, and weighs 1.
* Every other node weighs 0: those of rollouts, and steps that no rollout was drawn from. Their value is the share of
  right leaves below.

Soft labels are these values, the paper's hard labels those of target "hard" with threshold 0: any right rollout. On
other trees (`edu` say) the first branch of each fork is what this rule takes for the solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eduprm.label.rules._contract import GradedTrees

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    def values(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return the shares, float64 [n]."""
        drawn, right = _rollouts(trees)
        own = _on_solutions(trees) & (drawn > 0)
        return np.where(own, right / np.maximum(drawn, 1), trees.shares())

    def weights(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return 1 for steps with rollouts and leaves, both of solutions only, else 0; float64 [n]."""
        drawn, _ = _rollouts(trees)
        return (_on_solutions(trees) & ((drawn > 0) | trees.shape.is_leaf)).astype(np.float64)


def _bare(trees: GradedTrees) -> npt.NDArray[np.bool_]:
    """Which nodes are empty roots: the prompt, below which every child is a solution."""
    return (trees.shape.parent < 0) & (trees.tokens == 0)


def _on_solutions(trees: GradedTrees) -> npt.NDArray[np.bool_]:
    """Which nodes lie on solutions, bool [n]: they and all above are first children, or children of an empty root."""
    parent, rows = trees.shape.parent, np.arange(trees.shape.num_nodes)
    leaves_a_solution = (parent >= 0) & (parent != rows - 1) & ~_bare(trees)[parent]
    astray = leaves_a_solution.astype(np.int64)
    return (trees.shape.ancestor_sum(astray) + astray) == 0


def _rollouts(trees: GradedTrees) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Leaves below the children of each node but its first, and the right ones of them, int64 [n]; 0 at empty roots."""
    shape = trees.shape
    inner = np.flatnonzero(~shape.is_leaf & ~_bare(trees))
    found = []
    for below in (shape.leaves, shape.subtree_sum(trees.right)):
        others = np.zeros(shape.num_nodes, np.int64)
        others[inner] = below[inner] - below[inner + 1]  # in preorder the first child is the next row
        found.append(others)
    return found[0], found[1]
