"""Rollouts from the end of every step of independent solutions (Math-Shepherd, arXiv 2312.08935).

The paper draws solutions, and `rollouts` completions from the end of each of their steps; a step is worth the share of
right ones (soft), or 1 where any is right (hard). Here the tree holds both, and the label rule `rollouts` makes the
values: `--label.rule rollouts`, with `--label.target hard` for the paper's hard labels. The last step is worth what
its own answer is. Our reading:

* A step ends where the labels stand: apps/train passes its `label.steps`. The paper's end at line breaks.
* Prefixes that two solutions share are completed once for each, so that every solution has its own `rollouts`.
* `max_total_tokens` caps the tree; the steps that it leaves without rollouts get no label.
"""

from __future__ import annotations

from collections.abc import Sequence

from eduprm.search.branches import Branch
from eduprm.search.strategies._rollouts import RolloutOptions, Step


class Rollouts(RolloutOptions):
    """Every step of every solution, one solution after another.

    Examples:
        >>> Rollouts(rollouts=4).visits([], [Step(0, 0, 5), Step(0, 5, 9), Step(1, 0, 6)])
        [Step(solution=0, start=0, stop=5), Step(solution=0, start=5, stop=9), Step(solution=1, start=0, stop=6)]
    """

    @property
    def title(self) -> str:
        """As tables show it."""
        return "rollouts"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "rollouts"

    def visits(self, solutions: Sequence[Branch], steps: Sequence[Step]) -> Sequence[Step]:
        """All steps, as they come."""
        return steps


Strategy = Rollouts
