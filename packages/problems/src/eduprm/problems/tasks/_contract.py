"""What a task is: questions with gold answers, how they are asked, and what grades the answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

__all__ = ["ProblemTask", "Row"]

Row = Mapping[str, Any]
"""`question` (text) and `answer` (text; None where the grader needs none); may hold `source` (text), `metadata` (what
JSON can hold), `split` ("train" or "test", where the data have parts of their own) and `check`, called without
arguments when the row is taken and raising ValueError if its own grader rejects its answer."""


class ProblemTask(Protocol):
    """Made with the settings of `--problem.task-config` as keyword arguments.

    Attributes:
        shots: worked examples, pairs of question and solution, for policies that were not taught; may be empty.
        grader: name of the grader of `eduprm.label` that suits the answers.
    """

    shots: tuple[tuple[str, str], ...]
    grader: str

    def rows(self, seed: int) -> Iterator[Row]:
        """Yield rows in an order that depends on the seed alone; repeated questions are taken once."""
        ...
