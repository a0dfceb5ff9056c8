"""The share of right leaves below a node, each weighed by exp of the log-probs from the node down to it.

Ours: a forced second-best branch is no sample, so it counts by what the policy gives it. See `eduprm.label.pooling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eduprm.label.pooling import pool_by_probability
from eduprm.label.rules._contract import GradedTrees

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """Takes no options."""

    def values(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return the weighted shares, float64 [n]; exactly 0 or 1 where all leaves below agree."""
        return pool_by_probability(trees.shape, trees.logprobs(), trees.right)
