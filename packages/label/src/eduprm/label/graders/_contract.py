"""What a grader is: one call, `grade(text, problem)`, that says whether a solution ends in the right answer.

It does not know frames (see `eduprm.label.grading`). Graders that run other people's parsers do so in a worker process
(`eduprm.label.pool`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from eduprm.label.answers import extract_answer
from eduprm.label.numeric import canonical_answer

__all__ = ["AnswerGrader", "Grader", "Problem", "gold_answer"]

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
