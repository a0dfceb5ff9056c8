"""math-verify on one pair of answers, with a second look at what it calls equal. Runs in the worker only.

math-verify (0.8 and 0.9) drops the base of "52_8", rounds floats to six places, lets 2^-99 equal 2^-98, takes any of
several formulas in the text, and lets tuples equal lists and "x=6=5" equal "x=5". So: "$" is taken out, containers are
taken apart as they are written and compared element by element, bases are compared by hand, and each pair called equal
must also agree to 12 digits (see `_agreement`). Source: huggingface/Math-Verify#14, #82.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify

from eduprm.label._agreement import agree, match_any_order
from eduprm.label._math_spelling import EMPTY_SET, plain_formula
from eduprm.label.formula_parts import Parts, num_equalities, parts_of
from eduprm.label.numeric import number_equal

_BASED = re.compile(r"([0-9A-Za-z]+) *_ *\{?([0-9]{1,2})\}?")
_BASED_NUMBER = re.compile(r"(?<![A-Za-z0-9\\])[0-9][0-9A-Za-z]* *_ *\{? *(?:\\text\{ *)?[0-9A-Za-z]")
_CONFIG = [LatexExtractionConfig()]


def check(item: dict[str, Any]) -> float:
    """1.0 where the answer equals the gold, else 0.0."""
    return float(_equal(plain_formula(item["gold"]), plain_formula(item["answer"])))


def _equal(gold: str, answer: str) -> bool:
    if gold == answer:
        return True
    if EMPTY_SET in (gold, answer):  # it equals nothing else, the set that holds it included
        return False
    left, right = parts_of(gold), parts_of(answer)
    if not (left.kind or right.kind):  # bare lists and sets in braces
        if len(left.elements) != len(right.elements):
            return False
        if len(left.elements) > 1:
            return match_any_order(left.elements, right.elements, _equal)
        return _formulas_equal(left.elements[0], right.elements[0])
    if left.kind and right.kind:
        same = left.kind == right.kind and len(left.elements) == len(right.elements)
        return same and all(map(_equal, left.elements, right.elements))
    # An interval may be written as a relation or a union, but it is no list.
    return not _is_list(left) and not _is_list(right) and _formulas_equal(gold, answer)


def _is_list(parts: Parts) -> bool:
    return not parts.kind and len(parts.elements) > 1


def _formulas_equal(gold: str, answer: str) -> bool:
    """Whether two formulas, neither of them a list, are equal by math-verify and by our second look."""
    if gold == answer or number_equal(gold, answer):
        return True
    bases = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if bases[0] and bases[1]:
        return bases[0].groups() == bases[1].groups()
    if len(_BASED_NUMBER.findall(gold)) != len(_BASED_NUMBER.findall(answer)):
        return False
    if max(num_equalities(gold), num_equalities(answer)) > 1:
        return False  # "x = 6 = 5"
    left, right = _parse(gold), _parse(answer)
    # `agree` first: it needs a few values only, where `verify` simplifies. `verify` takes a relation for an interval
    # one way round only.
    return (
        left is not None
        and right is not None
        and agree(left, right)
        and (verify(left, right, timeout_seconds=0) or verify(right, left, timeout_seconds=0))
    )


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


@lru_cache(maxsize=64)
def _parse(text: str) -> Any:
    """The first formula as sympy reads it; None where it reads none."""
    found = parse(f"${text}$", extraction_config=_CONFIG, fallback_mode="no_fallback", parsing_timeout=0)
    return found[0] if found else None
