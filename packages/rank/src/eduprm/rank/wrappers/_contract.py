"""What a wrapper is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eduprm.prm.solutions import StepScorer, StepScores


class ScoreWrapper(Protocol):
    """A frozen dataclass of options, called `Wrapper`, between those who ask for scores and the PRM."""

    def score_steps(
        self,
        prm: StepScorer,
        solutions: Sequence[tuple[str, Sequence[str]]],
        *,
        complete: bool,
        as_cut: bool,
    ) -> list[StepScores]:
        """Ask the PRM, and give one result per solution as `eduprm.prm.solutions.StepScorer` does."""
        ...
