"""1 where a node keeps at least a share of its parent's value, else 0 (GenPRM, arXiv 2504.00891).

The paper compares the Monte Carlo value behind a step with the one before it and labels the step right where their
ratio is at least .8; behind a value of 0 everything is 0. On a tree the value before is the parent's, which is our
reading; a root has nothing before it and is right where any leaf below is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eduprm.label.rules._contract import GradedTrees

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """`least`, in (0, 1]: the share of the parent's value that a right step keeps.

    Raises:
        ValueError: another share.
    """

    least: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ValueError(f"expected least above 0 and at most 1, got {self.least}")

    def values(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return 0 or 1 per node, float64 [n]."""
        share, parent = trees.shares(), trees.shape.parent
        before = np.where(parent >= 0, share[parent], share)
        # The shares are quotients of whole numbers; a ratio that is exactly `least` must not fail by rounding.
        return ((share > 0) & (share >= self.least * before - 1e-12)).astype(np.float64)
