"""What weights of questions are."""

from __future__ import annotations

from typing import Protocol

import polars as pl

__all__ = ["QuestionWeights"]


class QuestionWeights(Protocol):
    """A frozen class; its fields are the options, checked when it is made."""

    def of(self, graded: pl.DataFrame) -> pl.DataFrame:
        """Return problem_id and weight (Float64, at least 0) of every question; 0 leaves it out.

        Args:
            graded: problem_id, answer (null where there is none) and correct, a row for each leaf.
        """
        ...
