"""A grader made of a function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eduprm.label.graders._contract import Problem

__all__ = ["FunctionGrader"]


class FunctionGrader:
    """A user's own function: called with (text, problem), it returns a bool or a score (1.0 and above is right).

    Both may be Python's or numpy's. Frames call it once for each distinct (problem, text).

    The function is the user's code and runs in this process, without a bound on time or memory.

    Args:
        function: A callable.

    Examples:
        >>> FunctionGrader(lambda text, problem: problem["answer"] in text).grade("it is 12", {"answer": "12"})
        True
    """

    name = "function"

    def __init__(self, function: Callable[[str, Problem], bool | float]) -> None:
        self._function = function

    def grade(self, text: str, problem: Problem) -> bool:
        """What the function says; ValueError where it returns neither a bool nor a number."""
        verdict = self._function(text, problem)
        if isinstance(verdict, np.generic):
            verdict = verdict.item()
        if not isinstance(verdict, bool | int | float):
            raise ValueError(
                f"expected a bool or a number from the grading function, got {type(verdict).__name__}"
            )
        return float(verdict) >= 1.0
