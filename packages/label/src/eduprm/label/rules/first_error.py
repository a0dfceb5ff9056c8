"""The share of right leaves below a node, up to the first step behind which none is right; later steps weigh nothing.

Once a solution is lost, the steps that follow are labelled 0 by any share, also those that are right in themselves: a
head then has to learn where the mistake was from labels that are mostly about other steps. Here a step is labelled
only while something right could still follow the step before it, so its label speaks of the step alone.

Source: training up to the first incorrect step is PRM800K's (arXiv 2305.20050, "Process-supervised reward models"),
whose labels people gave. That the first incorrect step is the first behind which no leaf of the tree is right is our
reading: a node without a right leaf may be right, and unlucky.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from eduprm.label.rules import uniform
from eduprm.label.rules._contract import GradedTrees

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule(uniform.Rule):
    """No options; with target "hard" a label says whether any right leaf is below."""

    by_step: ClassVar[bool] = True

    def weights(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return the leaves below each node, 0 where none below its parent is right, float64 [n]."""
        parent = trees.shape.parent
        open_before = (parent < 0) | (trees.shares()[parent] > 0)
        return np.where(open_before, trees.shape.leaves, 0).astype(np.float64)
