"""Does a chain of equations use up the problem's own numbers and end in its own answer?

What it is for: about two thirds of the leaves that are graded right hold a wrong or a skipped step (the project's first
measurement), and a true equation about other numbers is no step either. For tasks that reduce given operands, such as
reasoning-gym's products and chain sums, the whole derivation can be checked. It does not know the order in which the
operands had to be taken. Ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from eduprm.label.answers import extract_answer
from eduprm.label.arithmetic import numbers_in
from eduprm.label.numeric import parse_number
from eduprm.label.steps import check_steps


class Derivation(NamedTuple):
    """What `check_derivation` found.

    Attributes:
        valid: Every equation holds.
        grounded: Every equation starts from numbers at hand: given operands or results of earlier equations.
        complete: At the end one number is left, and it is the stated answer.
    """

    valid: bool
    grounded: bool
    complete: bool

    @property
    def sound(self) -> bool:
        """All three: the steps are true, start from the problem, and lead to the answer."""
        return self.valid and self.grounded and self.complete


def check_derivation(text: str, operands: Iterable[int | str | Fraction]) -> Derivation:
    """Check a solution that reduces `operands` to one number, an equation at a time.

    A pool starts with the operands (by absolute value, so that "5 - 3" uses 5 and 3). Each equation takes the numbers
    of its left side out of the pool and puts those of its right side in, so "2*3*4 = 6*4 = 24" ends with 24.

    Args:
        text: A solution; equations as `check_steps` reads them.
        operands: The numbers in the problem.

    Examples:
        >>> check_derivation("3 * 4 = 12\\n12 * 5 = 60\\n#### 60", [3, 4, 5])
        Derivation(valid=True, grounded=True, complete=True)
        >>> check_derivation("3 * 4 = 12\\n#### 60", [3, 4, 5]).complete
        False
        >>> check_derivation("3 * 20 = 60\\n#### 60", [3, 4, 5]).grounded
        False
    """
    pool: Counter[Fraction] = Counter(abs(Fraction(operand)) for operand in operands)
    grounded = True
    for equation in (equation for check in check_steps(text) for equation in check.equations):
        if not equation.holds:
            return Derivation(valid=False, grounded=False, complete=False)
        needed = Counter(numbers_in(equation.left))
        grounded = grounded and needed <= pool
        pool = pool - needed + Counter(numbers_in(equation.right))
    answer = extract_answer(text)
    number = None if answer is None else parse_number(answer)
    complete = number is not None and pool == Counter([abs(number)])
    return Derivation(valid=True, grounded=grounded, complete=complete)
