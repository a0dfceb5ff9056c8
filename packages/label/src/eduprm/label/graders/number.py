"""Exact numbers: right when answer and gold are the same one."""

from __future__ import annotations

from eduprm.label.graders._contract import AnswerGrader, Problem, gold_answer
from eduprm.label.numeric import number_equal

__all__ = ["Grader", "NumberGrader"]


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


Grader = NumberGrader
