"""A PRM beside a calculator: steps whose equations are false lose their score.

The idea of TaTToo (arXiv 2510.06217): where a tool can tell, it tells. The tool is `eduprm.label.check_steps`; a step
without an equation, and one whose equations hold, keep the PRM's score. Our reading:

* Lines are checked whole, as they stand in the solution that the PRM read: where it joined a list of steps, each of
  these borders ends a line. A false equation belongs to the step in which it ends.
* The steps after a false one keep their scores: the checker says nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from eduprm.label import check_steps
from eduprm.prm.solutions import StepScorer, StepScores
from eduprm.rank.wrappers._joined import joined_steps


@dataclass(frozen=True)
class Wrapper:
    """Options: weight, the share of a refuted step's score that it loses (1: all of it).

    Examples:
        >>> Wrapper().refuted(["2 * 3 = 6\\n", "6 * 4 ", "= 25\\n", "#### 25"])
        [False, False, True, False]
    """

    weight: Annotated[float, Field(ge=0, le=1)] = 1.0

    def score_steps(
        self,
        prm: StepScorer,
        solutions: Sequence[tuple[str, Sequence[str]]],
        *,
        complete: bool,
        as_cut: bool,
    ) -> list[StepScores]:
        """The PRM's scores, times 1 - weight where an equation is false."""
        results = prm.score_steps(solutions, complete=complete, as_cut=as_cut)
        found = []
        for (_, steps), one in zip(solutions, results, strict=True):
            if one.scores is None:
                found.append(one)
                continue
            # Line breaks whatever the PRM's joiner is: an equation ends with the item of the list that holds it.
            pieces = joined_steps(steps, "\n", complete=complete, as_cut=as_cut)
            keep = [1.0 - self.weight if wrong else 1.0 for wrong in self.refuted(pieces)]
            found.append(one._replace(scores=[a * b for a, b in zip(one.scores, keep, strict=True)]))
        return found

    @staticmethod
    def refuted(pieces: Sequence[str]) -> list[bool]:
        """Which pieces of a text hold the end of a false equation."""
        ends = list(accumulate(map(len, pieces)))
        wrong = [False] * len(pieces)
        for check in check_steps("".join(pieces)):
            for equation in check.equations:
                if not equation.holds:
                    wrong[next(k for k, end in enumerate(ends) if equation.stop <= end)] = True
        return wrong
