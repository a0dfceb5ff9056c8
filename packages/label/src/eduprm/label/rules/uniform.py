"""The share of right leaves below a node, every leaf counted once (EDU-PRM, arXiv 2503.22233)."""

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
        return trees.shares()
