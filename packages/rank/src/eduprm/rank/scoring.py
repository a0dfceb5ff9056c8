"""Score the steps of a chunk's solutions, with a PRM in this process or behind a URL.

For steps and one score each for every solution that the PRM takes; the others are rejected, one by one. Loads torch
only through what it is given, and `anchors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eduprm.prm.solutions import StepScorer
from eduprm.rank.errors import Rejection
from eduprm.rank.rows import Problem, Solution
from eduprm.rank.settings import RankSettings
from eduprm.rank.steps import cut_steps

if TYPE_CHECKING:
    from eduprm.rank.anchors import EntropyCutter


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A solution, its steps (which join to its text) and one score in [0, 1] for each."""

    solution: Solution
    steps: list[str]
    step_scores: list[float]


class Scorer:
    """What scores steps, and the settings of cutting.

    Raises:
        UsageError: the policy that cuts cannot be loaded.
    """

    def __init__(self, prm: StepScorer, settings: RankSettings) -> None:
        self._prm = prm
        self._settings = settings
        self._cutter: EntropyCutter | None = None
        cut = settings.policy_cut
        if cut is not None:
            from eduprm.rank.anchors import EntropyCutter

            self._cutter = EntropyCutter(settings.policy, cut, device=settings.device)

    def score(self, problems: Sequence[Problem]) -> tuple[list[list[Scored]], list[Rejection]]:
        """Score all solutions of some problems.

        Returns:
            Per problem its scored solutions in their order, and the solutions that could not be scored.
        """
        items: list[tuple[int, Solution, list[str]]] = []
        rejected: list[Rejection] = []
        if self._cutter is not None:
            self._cutter.reset()
        for number, problem in enumerate(problems):
            for solution, steps in zip(problem.solutions, self._cut(problem), strict=True):
                if isinstance(steps, str):
                    reason = f"cannot be cut by the policy ({steps}); take it out or cut with --segment lines"
                    rejected.append(_reject(problem, solution, reason))
                else:
                    items.append((number, solution, steps))
        results: list[list[Scored]] = [[] for _ in problems]
        answers = self._prm.score_steps(
            [(problems[number].text, steps) for number, _, steps in items], as_cut=True
        )
        for (number, solution, steps), one in zip(items, answers, strict=True):
            if one.scores is None:
                rejected.append(_reject(problems[number], solution, str(one.rejected)))
            else:
                results[number].append(Scored(solution=solution, steps=steps, step_scores=one.scores))
        return results, rejected

    def _cut(self, problem: Problem) -> list[list[str] | str]:
        """Steps of each of a problem's solutions, or why one cannot be cut."""
        settings = self._settings
        texts = [solution.text for solution in problem.solutions if solution.steps is None]
        if self._cutter is not None:
            found = iter(self._cutter.steps(problem.text, texts) if texts else [])
        else:
            cut = (
                cut_steps(text, segment=settings.segment, options=settings.segment_options) for text in texts
            )
            found = iter(list(cut))
        return [
            next(found) if solution.steps is None else list(solution.steps) for solution in problem.solutions
        ]


def _reject(problem: Problem, solution: Solution, reason: str) -> Rejection:
    return Rejection(row=solution.row, id=problem.id, solution=solution.index, reason=reason)
