"""Rollouts from the steps of which the policy was least certain, until a budget is spent (UnPRM, arXiv 2508.01773).

Solutions and rollouts are those of the strategy `rollouts`, labels those of the label rule `rollouts`; what differs is
which steps are visited: the most uncertain of all solutions first, `max_rollouts // rollouts` of them. The others get
no label. A step's uncertainty is read off its n chosen tokens, as in the paper's code:

    H(p), p = softmax(l / 5), l the log-probs (nats) of the step's tokens

H is in nats and at most ln n, so long steps with few sure tokens count as uncertain. Our reading: the budget is one
tree's, the steps end where the labels stand, and of equal uncertainties the step found earlier comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from eduprm.search.branches import Branch
from eduprm.search.strategies._rollouts import RolloutOptions, Step


class UncertainFirst(RolloutOptions):
    """The most uncertain steps first.

    Examples:
        >>> UncertainFirst(rollouts=4, max_rollouts=8).tree
        'uncertain-first'
    """

    max_rollouts: int = Field(default=32, ge=1, description="most rollouts of one tree, the budget")
    softness: float = Field(
        default=5.0, gt=0.0, description="what log-probs are divided by before the softmax"
    )

    @model_validator(mode="after")
    def _one_step(self) -> UncertainFirst:
        if self.max_rollouts < self.rollouts:
            raise ValueError(
                f"max_rollouts: expected at least the rollouts of one step, {self.rollouts}, got {self.max_rollouts}"
            )
        return self

    @property
    def title(self) -> str:
        """As tables show it."""
        return "uncertain first"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "uncertain-first"

    def uncertainty(self, logprobs: npt.NDArray[np.float32]) -> float:
        """Nats, of one step by the log-probs of its tokens, float32 [n].

        Examples:
            >>> strategy = UncertainFirst(softness=1.0)
            >>> round(strategy.uncertainty(np.log([0.5, 0.25, 0.25])), 4)  # these are the softmax; ln 2 + 0.5 ln 2
            1.0397
            >>> strategy.uncertainty(np.log([0.1]))
            0.0
        """
        raised = np.asarray(logprobs, np.float64) / self.softness
        chances = np.exp(raised - raised.max())
        chances /= chances.sum()
        # A log-prob of -inf has a chance of 0, and 0 ln 0 is 0.
        return float(-(chances * np.log(np.where(chances > 0, chances, 1.0))).sum()) + 0.0

    def visits(self, solutions: Sequence[Branch], steps: Sequence[Step]) -> Sequence[Step]:
        """As many steps as the budget pays for, the most uncertain first."""
        of = {
            step: self.uncertainty(solutions[step.solution].logprobs[step.start : step.stop])
            for step in steps
        }
        return sorted(steps, key=lambda step: -of[step])[: self.max_rollouts // self.rollouts]


Strategy = UncertainFirst
