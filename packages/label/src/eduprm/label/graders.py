"""What a grader is, the exact-number one, a user's function, and the registry by name.

What it is for: one call, `grade(text, problem)`, that says whether a solution ends in the right answer. It does not
know frames (see `grading`). Graders that run other people's parsers live in `math_grader` and `reasoning_gym_grader`,
and run them in a worker process (`worker`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np

from eduprm.label.answers import extract_answer
from eduprm.label.numeric import canonical_answer, number_equal

Problem = Mapping[str, Any]


@runtime_checkable
class Grader(Protocol):
    """Anything with a name that grades a solution's whole text against a row of the problems table."""

    name: str

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether `text` solves `problem` (a mapping with at least problem_id and answer)."""
        ...


class AnswerGrader:
    """A grader that looks at the final answer only: equal answers to one problem get equal grades.

    Subclasses give `grade_answer`. Frames are graded one answer per problem once, through `grade_answers`.
    """

    name = "answer"

    def extract(self, text: str, problem: Problem) -> str | None:
        """The final answer in a solution of `problem`, or None."""
        return extract_answer(text)

    def needs_gold(self, problem: Problem) -> bool:
        """Whether the problem cannot be graded without a gold answer."""
        return True

    def grade(self, text: str, problem: Problem) -> bool:
        """Whether the final answer of `text` is right; no answer is wrong."""
        answer = self.extract(text, problem)
        return answer is not None and self.grade_answer(answer, problem)

    def grade_answer(self, answer: str, problem: Problem) -> bool:
        """Whether an extracted answer is right."""
        raise NotImplementedError

    def grade_answers(self, pairs: Sequence[tuple[str, Problem]]) -> list[bool]:
        """Grade many (answer, problem) pairs, in order."""
        return [self.grade_answer(answer, problem) for answer, problem in pairs]

    def group_answers(self, answers: Sequence[Sequence[str | None]]) -> list[list[str | None]]:
        """One spelling per group of equal answers, problem by problem (`group_spellings`); here equal numbers are."""
        return [[None if one is None else canonical_answer(one) for one in some] for some in answers]

    def close(self) -> None:
        """Free what the grader holds (worker processes); grading again starts them anew."""

    def __enter__(self) -> AnswerGrader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def gold_answer(problem: Problem) -> str:
    """The gold answer of a problem; ValueError, naming the problem, where there is none."""
    gold = problem.get("answer")
    if not isinstance(gold, str) or not gold.strip():
        raise ValueError(f"expected a gold answer for problem {problem.get('problem_id')!r}, got {gold!r}")
    return gold


class NumberGrader(AnswerGrader):
    """Right when answer and gold are the same number, exactly.

    Examples:
        >>> NumberGrader().grade("3 * 4 = 12\\n#### 12", {"problem_id": "p", "answer": "12.0"})
        True
    """

    name = "number"

    def grade_answer(self, answer: str, problem: Problem) -> bool:
        """Whether answer and gold are exactly equal numbers."""
        return number_equal(answer, gold_answer(problem))


class FunctionGrader:
    """A user's own function: called with (text, problem), it returns a bool or a score (1.0 and above is right).

    Both may be Python's or numpy's. Frames call it once for each distinct (problem, text).

    The function is the user's code and runs in this process, without a bound on time or memory.

    Args:
        function: A callable, or "package.module:function".

    Raises:
        ValueError: the string names no such function.

    Examples:
        >>> FunctionGrader(lambda text, problem: problem["answer"] in text).grade("it is 12", {"answer": "12"})
        True
        >>> FunctionGrader("no.such.module:f")
        Traceback (most recent call last):
        ValueError: expected "package.module:function", got 'no.such.module:f' (No module named 'no')
    """

    name = "function"

    def __init__(self, function: str | Callable[[str, Problem], bool | float]) -> None:
        self._function = _load(function) if isinstance(function, str) else function

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


def _load(path: str) -> Callable[[str, Problem], bool | float]:
    module, _, name = path.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f'expected "package.module:function", got {path!r} ({error})') from error
    if not callable(function):
        raise ValueError(f"expected {path!r} to name a function, got {type(function).__name__}")
    return function


def get_grader(name: str, **options: Any) -> Grader:
    """Make a grader by name: "number", "math", "reasoning-gym", or "package.module:function".

    Args:
        name: One of the names, or a function's path.
        options: Keyword arguments of the grader.

    Raises:
        ValueError: no such grader; the message lists the names.
        ImportError: the grader's extra is not installed; the message names it.

    Examples:
        >>> get_grader("number").name
        'number'
        >>> get_grader("maths")
        Traceback (most recent call last):
        ValueError: expected a grader out of number, math, reasoning-gym or "package.module:function", got 'maths'
    """
    if name == "number":
        return NumberGrader(**options)
    if name == "math":
        from eduprm.label.math_grader import MathGrader

        return MathGrader(**options)
    if name == "reasoning-gym":
        from eduprm.label.reasoning_gym_grader import ReasoningGymGrader

        return ReasoningGymGrader(**options)
    if isinstance(name, str) and ":" in name:
        return FunctionGrader(name, **options)
    names = 'number, math, reasoning-gym or "package.module:function"'
    raise ValueError(f"expected a grader out of {names}, got {name!r}")
