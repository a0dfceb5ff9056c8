"""Grade formulas with math-verify, in worker processes that cannot hang the caller.

What it is for: MATH-like answers ("\\frac{1}{2}", intervals, matrices, text). It does not parse formulas itself. Plain
numbers are settled here, exactly, without a worker. Needs the extra `eduprm-label[math]`.
"""

from __future__ import annotations

from importlib.util import find_spec

from eduprm.label.graders import Problem, gold_answer
from eduprm.label.numeric import parse_number
from eduprm.label.pool import PooledGrader

MAX_FORMULA_CHARS = 1000


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

    def _settled(self, answer: str, problem: Problem) -> bool | None:
        gold = gold_answer(problem)
        left, right = parse_number(gold, units=False), parse_number(answer, units=False)
        if left is not None and right is not None:
            return left == right
        if len(answer) > MAX_FORMULA_CHARS:
            self._refuse()
            return False
        return None

    def _item(self, answer: str, problem: Problem) -> dict[str, object]:
        return {"gold": gold_answer(problem), "answer": answer}

    def _is_right(self, score: float) -> bool:
        return score == 1.0
