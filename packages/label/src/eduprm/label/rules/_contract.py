"""What a label rule is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from eduprm.forest import Topology

__all__ = ["GradedTrees", "LabelRule"]


@dataclass(frozen=True, slots=True)
class GradedTrees:
    """Trees of n nodes in preorder with their leaves graded.

    Attributes:
        shape: parents, leaves, and sums over subtrees and ancestors (`eduprm.forest.Topology`).
        right: int64 [n], 1 at right leaves, else 0.
        tokens: int64 [n], tokens of each node itself.
        read_logprobs: what `logprobs` calls.
    """

    shape: Topology
    right: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    read_logprobs: Callable[[], npt.NDArray[np.float64]]

    def logprobs(self) -> npt.NDArray[np.float64]:
        """Return the summed log-prob (nats) of each node's own tokens, float64 [n].

        Raises:
            ValueError: one that is not finite. Rules that do not ask take such forests.
        """
        return self.read_logprobs()

    def shares(self) -> npt.NDArray[np.float64]:
        """Return the share of right leaves below each node, float64 [n]: its Monte Carlo value."""
        return self.shape.subtree_sum(self.right) / np.maximum(self.shape.leaves, 1)


class LabelRule(Protocol):
    """A frozen class; its fields are the rule's options, checked when it is made.

    One that judges some nodes only has a method `weights` too, `values`' twin: float64 [n], at least 0, in place of the
    count of leaves below a node; with node_weight "one" a node of any weight counts 1. One whose labels speak of a step
    alone, not of the solution up to its end, says `by_step = True`: the last score of a solution is not the solution's.
    """

    def values(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return the value of every node, float64 [n] in [0, 1]."""
        ...
