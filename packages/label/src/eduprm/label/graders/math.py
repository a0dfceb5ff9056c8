"""Grade formulas with math-verify, in worker processes that cannot hang the caller.

What it is for: MATH-like answers ("\\frac{1}{2}", intervals, matrices, text). It does not parse formulas itself. Plain
numbers are settled here, exactly, without a worker. Needs the extra `eduprm-label[math]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec

from eduprm.label.graders._contract import Problem, gold_answer
from eduprm.label.numeric import number_equal, parse_number
from eduprm.label.pool import PooledGrader
from eduprm.label.same_answers import group_spellings

MAX_FORMULA_CHARS = 1000

_WRAPPING = re.compile(r"\\(?:text|math)[a-z]{0,6}(?![A-Za-z])|\\q?quad(?![A-Za-z])|\\[,;: ]|[{}$*~]")
_CHOICE = re.compile(
    r"(?:(?i:option|choice|answer)[ :]+)?"
    r"(?:\( ?([A-J]) ?\)(?=[ .:]|\Z)|([A-J]) ?[.:)](?!\d)|([A-J])(?=\.?\Z))(.*)"
)
_LETTER = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")


class MathGrader(PooledGrader):
    """Right when math-verify judges answer and gold equal and the two agree to 12 digits.

    Args:
        timeout_s: Wall-clock seconds per answer; one that takes longer is killed, graded wrong and counted.
        memory_mib: Address space of each worker.
        num_workers: Worker processes that `grade_answers` spreads the work over.

    Raises:
        ImportError: math-verify is not installed.

    Examples:
        >>> with MathGrader() as grader:
        ...     grader.grade(r"so \\boxed{\\frac{2}{4}}", {"problem_id": "p", "answer": r"\\frac12"})
        True
    """

    name = "math"
    task = "math"

    def __init__(
        self, *, timeout_s: float = 5.0, memory_mib: int | None = 2048, num_workers: int = 1
    ) -> None:
        if find_spec("math_verify") is None:
            raise ImportError("MathGrader needs math-verify: install the extra eduprm-label[math]")
        super().__init__(timeout_s=timeout_s, memory_mib=memory_mib, num_workers=num_workers)

    def group_answers(self, answers: Sequence[Sequence[str | None]]) -> list[list[str | None]]:
        """One spelling per group of answers that are right for each other, problem by problem, over all workers."""
        return self._spread(lambda some: group_spellings(some, self._same), answers)

    def _same(self, one: str, other: str) -> bool | None:
        settled = _same_choice(one, other) or _equal_numbers(one, other)
        if settled is None and max(len(one), len(other)) <= MAX_FORMULA_CHARS:
            score = self._check({"gold": one, "answer": other})
            return None if score is None else self._is_right(score)
        return bool(settled)

    def _settled(self, answer: str, problem: Problem) -> bool | None:
        settled = _same_choice(gold_answer(problem), answer) or _equal_numbers(gold_answer(problem), answer)
        if settled is None and len(answer) > MAX_FORMULA_CHARS:
            self._refuse()
            return False
        return settled

    def _item(self, answer: str, problem: Problem) -> dict[str, object]:
        return {"gold": gold_answer(problem), "answer": answer}

    def _is_right(self, score: float) -> bool:
        return score == 1.0


def _letter_of_choice(text: str) -> tuple[str, bool] | None:
    r"""The letter of a multiple choice, and whether it stands alone: "B", "(B) 12", r"\textbf{(B)}\ 12", "Option B".

    Where another letter stands behind it ("(A) and (B)"), several may be chosen, and None is the answer.
    """
    found = _CHOICE.fullmatch(" ".join(_WRAPPING.sub(" ", text[:MAX_FORMULA_CHARS]).split()))
    if found is None or _LETTER.search(found[4]):
        return None
    return found[1] or found[2] or found[3], not found[4].strip(" .")


def _same_choice(one: str, other: str) -> bool:
    """Whether both name one letter of a multiple choice, at least one of them without the choice's text."""
    left, right = _letter_of_choice(one), _letter_of_choice(other)
    if left is None or right is None:
        return False
    return left[0] == right[0] and (left[1] or right[1])


def _equal_numbers(one: str, other: str) -> bool | None:
    """Whether both are plainly equal or unequal numbers; None where a formula must be read ("50%" may be 0.5)."""
    if number_equal(one, other):
        return True
    plain = all(parse_number(text, units=False) is not None for text in (one, other))
    return False if plain and "%" not in one + other else None


Grader = MathGrader
