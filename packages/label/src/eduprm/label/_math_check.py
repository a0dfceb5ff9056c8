"""math-verify on one pair of answers, with a second look at what it calls equal. Runs in the worker only.

math-verify (0.8 and 0.9) drops the base of "52_8", rounds floats to six places, lets 2^-99 equal 2^-98 and takes any
of several formulas in the text. So: each side is one formula, "$" is taken out, bases are compared by hand, and a
pair of expressions called equal must also agree to 12 digits at fixed points (huggingface/Math-Verify#14, #82).
"""

from __future__ import annotations

import re
from typing import Any

import sympy
from math_verify import LatexExtractionConfig, parse, verify

_BASED = re.compile(r"([0-9A-Za-z]+)_\{?([0-9]{1,2})\}?")
_TEXT_ONLY = re.compile(r"\\(?:text|mathrm|mbox|textbf)\{([^{}\\$]*)\}")
_RELATIVE_ERROR = sympy.Float("1e-12", 30)
_POINTS = ("0.7390851332151607", "1.3247179572447460", "2.6220575542921198")
_CONFIG = [LatexExtractionConfig()]


def check(item: dict[str, Any]) -> float:
    """1.0 where the answer equals the gold, else 0.0."""
    gold, answer = _plain(item["gold"]), _plain(item["answer"])
    if gold == answer:
        return 1.0
    bases = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if bases[0] and bases[1]:
        return float(bases[0].groups() == bases[1].groups())
    left, right = _parse(gold), _parse(answer)
    if left is None or right is None or not verify(left, right, timeout_seconds=0):
        return 0.0
    return float(_agree(left, right))


def warm_up() -> None:
    """Pay for what sympy and math-verify put off to the first use, so that no answer's time is spent on it."""
    for gold, answer in (
        ("(x+1)^2", "x^2+2x+1"),
        ("[1, 2)", "(1, 2]"),
        (r"\{1, 2\}", r"\{2, 1\}"),
        ("x=1", "x^2=1"),
    ):
        check({"gold": gold, "answer": answer})
    check({"gold": r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "answer": r"\sin(\frac{\pi}{6})"})


def _plain(text: str) -> str:
    text = text.replace("\\$", "").replace("$", "").strip().rstrip(".")
    whole = _TEXT_ONLY.fullmatch(text)
    return " ".join((whole[1] if whole else text).split())


def _parse(text: str) -> Any:
    """The first formula as sympy reads it; None where it reads none."""
    found = parse(f"${text}$", extraction_config=_CONFIG, fallback_mode="no_fallback", parsing_timeout=0)
    return found[0] if found else None


def _agree(left: Any, right: Any) -> bool:
    """Whether two expressions called equal are so to 12 digits; other kinds are left to math-verify."""
    left, right = _right_hand_side(left), _right_hand_side(right)
    if isinstance(left, sympy.Rel) != isinstance(right, sympy.Rel):
        return False  # "6 = 5" is no 5
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return True
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    for shift, _ in enumerate(_POINTS):
        values: dict[Any, Any] = {
            s: sympy.Float(_POINTS[(i + shift) % 3], 40) + i // 3 for i, s in enumerate(symbols)
        }
        a, b = (side.subs(values).evalf(30) for side in (left, right))
        if not (a.is_number and b.is_number):
            return True  # nothing to compare in numbers, such as f(x)
        if abs(a - b) > _RELATIVE_ERROR * max(abs(a), abs(b)):
            return False
        if not symbols:
            break
    return True


def _right_hand_side(expression: Any) -> Any:
    if isinstance(expression, sympy.Eq) and isinstance(expression.lhs, sympy.Symbol):
        return expression.rhs
    return expression
