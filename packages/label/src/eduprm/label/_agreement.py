"""Whether two sympy objects that math-verify calls equal are so to 12 digits. Runs in the worker only.

What it is for: math-verify rounds, so it takes 3.14159265 for pi wherever it stands. Here every number is compared at
fixed points to 12 digits: in expressions, matrices, sets, the ends of intervals and the two sides of relations. What it
does not know how to compare is not equal. Source: ours, after huggingface/Math-Verify#14 and #82.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational
from sympy.logic.boolalg import And

_RELATIVE_ERROR = sympy.Float("1e-12", 30)
_POINTS = ("0.7390851332151607", "1.3247179572447460", "2.6220575542921198")
_FLIPPED = (sympy.Lt, sympy.Le)
_COMPOSED = (sympy.Union, sympy.Complement, sympy.Intersection)


def agree(left: Any, right: Any) -> bool:
    """Whether two objects called equal are so in kind, in number of elements and to 12 digits in every number."""
    if left == right:
        return True
    left, right = _without_name(left, right), _without_name(right, left)
    left, right = _as_set(left, right), _as_set(right, left)
    if isinstance(left, sympy.MatrixBase) and isinstance(right, sympy.MatrixBase):
        return left.shape == right.shape and all(map(agree, left.flat(), right.flat()))
    if isinstance(left, sympy.Expr) and isinstance(right, sympy.Expr):
        return _close(left, right)
    if isinstance(left, Relational) and isinstance(right, Relational):
        return _relations_agree(left, right)
    if isinstance(left, sympy.Interval) and isinstance(right, sympy.Interval):
        ends = (left.left_open, left.right_open) == (right.left_open, right.right_open)
        return ends and agree(left.start, right.start) and agree(left.end, right.end)
    if not isinstance(left, sympy.Basic) or not isinstance(right, sympy.Basic):
        return False
    left, right = (side.doit() if isinstance(side, _COMPOSED) else side for side in (left, right))
    if left == right:
        return True
    for kind in (sympy.FiniteSet, sympy.Union, And):
        if isinstance(left, kind) and isinstance(right, kind):
            return match_any_order(left.args, right.args, agree)
    same = left.func == right.func and len(left.args) == len(right.args) > 0
    return same and all(map(agree, left.args, right.args))


def match_any_order(left: Sequence[Any], right: Sequence[Any], same: Callable[[Any, Any], bool]) -> bool:
    """Whether the elements of both sides can be paired off; `same` is taken to be transitive."""
    rest = list(right)
    for element in left:
        found = next((i for i, other in enumerate(rest) if same(element, other)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


def _without_name(side: Any, other: Any) -> Any:
    """The value of "x = 5" and "f(x) = 5" beside one that has no name; "6 = 5" has none to lose."""
    if isinstance(side, sympy.Eq) and not isinstance(other, Relational):
        for name, value in (side.args, side.args[::-1]):
            if isinstance(name, sympy.Symbol | AppliedUndef):
                return value
    return side


def _as_set(side: Any, other: Any) -> Any:
    """A relation in one unknown beside a set, as the set of its solutions; an element beside a set, as a set."""
    if not isinstance(other, sympy.Set) or isinstance(side, sympy.Set):
        return side
    if isinstance(side, Relational | And):
        return side.as_set()
    return sympy.FiniteSet(side) if isinstance(side, sympy.Expr) else side


def _close(left: Any, right: Any) -> bool:
    """Whether two expressions have the same value at fixed points."""
    left, right = left.doit(), right.doit()
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    for shift in range(len(_POINTS)):
        a, b = (side.subs(_point(symbols, shift)).evalf(30) for side in (left, right))
        if not (a.is_number and b.is_number):
            return True  # nothing to compare in numbers, such as f(x)
        if not _same_number(a, b):
            return False
        if not symbols:
            break
    return True


def _same_number(a: Any, b: Any) -> bool:
    return bool(a == b or abs(a - b) <= _RELATIVE_ERROR * max(abs(a), abs(b)))


def _point(symbols: Sequence[Any], shift: int) -> dict[Any, Any]:
    return {s: sympy.Float(_POINTS[(i + shift) % 3], 40) + i // 3 for i, s in enumerate(symbols)}


def _relations_agree(left: Any, right: Any) -> bool:
    """Whether two relations say the same: as "f > 0" and "g > 0" with g a constant times f, or by their solutions."""
    f, g = _difference(left), _difference(right)
    orders = [not isinstance(side, sympy.Eq | sympy.Ne) for side in (left, right)]
    strict = [isinstance(side, sympy.Gt | sympy.Lt | sympy.Ne) for side in (left, right)]
    if orders[0] != orders[1] or strict[0] != strict[1]:
        return False
    symbols = sorted(f.free_symbols | g.free_symbols, key=str)
    factors = []
    for shift in range(len(_POINTS)):
        a, b = (side.subs(_point(symbols, shift)).evalf(30) for side in (f, g))
        if not (a.is_number and b.is_number and a and b):
            return False
        factors.append(a / b)
    if all(_same_number(factor, factors[0]) for factor in factors[1:]):
        return not orders[0] or bool(factors[0] > 0)
    return isinstance(left, sympy.Eq) and isinstance(right, sympy.Eq) and _solutions_agree(f, g, symbols)


def _difference(relation: Any) -> Any:
    lhs, rhs = relation.args
    return (rhs - lhs if isinstance(relation, _FLIPPED) else lhs - rhs).doit()


def _solutions_agree(f: Any, g: Any, symbols: Sequence[Any]) -> bool:
    """Whether f = 0 and g = 0 have equal solutions in the first unknown, the others held at a rational point."""
    held = {s: sympy.Rational(i + 5, i + 3) for i, s in enumerate(symbols[1:])}
    roots = []
    for side in (f, g):
        # Exact, as `solve` rounds; by its digits, as 0.1 is meant, not the nearest binary fraction.
        exact = {number: sympy.Rational(str(number)) for number in side.atoms(sympy.Float)}
        found = sympy.solve(side.xreplace(exact).subs(held), symbols[0])
        roots.append([root.evalf(30) for root in found])
    return bool(roots[0]) and match_any_order(roots[0], roots[1], _same_number)
