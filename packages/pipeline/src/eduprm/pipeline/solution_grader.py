"""The run's grader as what OmegaPRM asks while a tree grows: which whole solutions are right."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from eduprm.pipeline.settings import TrainSettings


class SolutionGrader:
    """`eduprm.search.strategies._contract.SolutionGrader` of a run; its worker ends with it.

    Args:
        settings: of the run.
        problems: problem_id, answer and what else the grader reads.

    Raises:
        UsageError: when first asked: there is no such grader, or no such option.
        ValueError: a problem without a gold answer, where the grader needs one.
    """

    def __init__(self, settings: TrainSettings, problems: pl.DataFrame) -> None:
        self._settings, self._problems = settings, problems
        self._opened = ExitStack()
        weakref.finalize(self, self._opened.close)

    @cached_property
    def _grader(self) -> Any:
        from eduprm.pipeline.label_trees import grader_name, open_grader

        problem = self._settings.problem
        name = grader_name(problem, self._settings.problems)
        return self._opened.enter_context(open_grader(name, problem.grader_options))

    async def __call__(self, problem_id: str, texts: Sequence[str]) -> list[bool]:
        """One grade per text."""
        from eduprm.label import grade_frame

        solutions = pl.DataFrame({"problem_id": [problem_id] * len(texts), "text": list(texts)})
        own = self._problems.filter(problem_id=problem_id)
        return grade_frame(solutions, own, self._grader)["correct"].to_list()
