"""(1/eta) ln of the mean of e^(eta r) over the leaves below a node (ER-PRM, arXiv 2412.11006).

Between the mean (eta towards 0) and the best leaf (eta towards infinity): a node is worth more than its share of right
leaves, because a policy that is regularised towards the present one would move to the right ones. The paper draws 16
rollouts at temperature 1; the leaves of a tree in their place, each counted once, are our reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eduprm.label.rules._contract import GradedTrees

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """`eta` above 0: how much the best leaves count.

    Raises:
        ValueError: another eta.
    """

    eta: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.eta < float("inf"):
            raise ValueError(f"expected eta above 0, got {self.eta}")

    def values(self, trees: GradedTrees) -> npt.NDArray[np.float64]:
        """Return the values, float64 [n]; exactly 0 or 1 where all leaves below agree."""
        share = trees.shares()
        with np.errstate(divide="ignore"):
            # ln((1 - p) + p e^eta) without e^eta, which overflows.
            log_mean = np.logaddexp(np.log1p(-share), np.log(share) + self.eta)
        return np.where((share == 0) | (share == 1), share, np.clip(log_mean / self.eta, 0, 1))
