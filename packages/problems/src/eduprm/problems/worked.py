"""Worked solutions of generated problems: one true equation a line, the last line "#### answer".

What it is for: text that teaches a small policy to reason in steps that `eduprm.label.check_steps` can judge. Every
line does one thing with numbers at hand, small enough to be learnt: products beyond one digit are cut by place
value, fractions are divided by one prime after the other. The ways of working are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

# A minus is a sign where no number or bracket stands before it.
_TOKEN = re.compile(r"(?<![\d)] )(?<![\d)])-?\d+|\d+|[()*+-]")
_LINEAR = re.compile(
    r"(?:(?P<before>-?\d+) )?(?P<sign>[+-] ?)?(?:(?P<factor>\d+)\*)?(?P<variable>[a-z])"
    r"(?: (?P<operation>[+-]) (?P<after>\d+))? = (?P<right>-?\d+)"
)
_PRIMES = (2, 3, 5, 7, 11, 13)


def worked_solution(dataset: str, metadata: Mapping[str, Any]) -> str | None:
    """Work a reasoning-gym problem step by step.

    Args:
        dataset: chain_sum, products, basic_arithmetic (without division), simple_equations or
            fraction_simplification.
        metadata: the entry's metadata.

    Returns:
        Lines of equations and "#### answer"; None for an entry that these ways cannot work.

    Raises:
        ValueError: a data set without a way of working.

    Examples:
        >>> print(worked_solution("chain_sum", {"expression": "3 - 8 + 4"}))
        3 - 8 = -5
        -5 + 4 = -1
        #### -1
    """
    if dataset not in _WAYS:
        raise ValueError(f"dataset must be one of {', '.join(_WAYS)}, got {dataset!r}")
    worked = _WAYS[dataset](metadata)
    if worked is None:
        return None
    lines, answer = worked
    return "\n".join([*lines, f"#### {answer}"])


Worked = tuple[list[str], str] | None


def _expression(metadata: Mapping[str, Any]) -> Worked:
    """Brackets before products before sums, each from left to right."""
    tokens = _TOKEN.findall(str(metadata["expression"]))
    if "".join(tokens) != str(metadata["expression"]).replace(" ", ""):
        return None
    lines: list[str] = []
    value = _sum(tokens, lines)
    return None if tokens else (lines, str(value))


def _sum(tokens: list[str], lines: list[str]) -> int:
    """Take a sum off the front of the tokens. Its products are worked first, as one would on paper."""
    terms, signs = [_product(tokens, lines)], []
    while tokens and tokens[0] in "+-":
        signs.append(tokens.pop(0))
        terms.append(_product(tokens, lines))
    total = terms[0]
    for sign, term in zip(signs, terms[1:], strict=True):
        result = total + term if sign == "+" else total - term
        lines.append(f"{total} {sign} {term} = {result}")
        total = result
    return total


def _product(tokens: list[str], lines: list[str]) -> int:
    value = _atom(tokens, lines)
    while tokens and tokens[0] == "*":
        tokens.pop(0)
        value = _multiply(value, _atom(tokens, lines), lines)
    return value


def _atom(tokens: list[str], lines: list[str]) -> int:
    token = tokens.pop(0)
    if token == "-":  # the sign of a bracket
        return -_atom(tokens, lines)
    if token != "(":
        return int(token)
    value = _sum(tokens, lines)
    tokens.pop(0)
    return value


def _multiply(left: int, right: int, lines: list[str]) -> int:
    """One line where one digit meets one digit, else a line for every digit of the longer factor and their sum."""
    if 0 <= left < 10 < right:
        left, right = right, left
    parts = [int(digit) * 10**place for place, digit in enumerate(reversed(str(abs(left)))) if digit != "0"][
        ::-1
    ]
    if left < 0 or len(parts) < 2 or right in (0, 1, 10):
        lines.append(f"{left} * {right} = {left * right}")
        return left * right
    lines += [f"{part} * {right} = {part * right}" for part in parts]
    total = parts[0] * right
    for part in parts[1:]:
        lines.append(f"{total} + {part * right} = {total + part * right}")
        total += part * right
    return total


def _equation(metadata: Mapping[str, Any]) -> Worked:
    """a*x + b = c: take b away from c, divide by a."""
    found = _LINEAR.fullmatch(str(metadata["equation"]))
    if found is None:
        return None
    right, lines = int(found["right"]), []
    factor = int(found["factor"] or 1) * (-1 if (found["sign"] or "").strip() == "-" else 1)
    constant = int(found["before"] or 0)
    if found["after"]:
        constant = int(found["after"]) * (1 if found["operation"] == "+" else -1)
    if constant:
        operation = "-" if constant > 0 else "+"
        lines.append(f"{right} {operation} {abs(constant)} = {right - constant}")
    rest = right - constant
    if factor != 1:
        if rest % factor:
            return None
        lines.append(f"{rest} / {factor} = {rest // factor}")
        rest //= factor
    return (lines, str(rest)) if lines else None


def _fraction(metadata: Mapping[str, Any]) -> Worked:
    """Divide both by one prime after the other for as long as it goes."""
    if metadata.get("style") != "plain":
        return None
    top, bottom = int(metadata["numerator"]), int(metadata["denominator"])
    lines: list[str] = []
    for prime in _PRIMES:
        while top % prime == 0 and bottom % prime == 0:
            lines += [f"{top} / {prime} = {top // prime}", f"{bottom} / {prime} = {bottom // prime}"]
            top, bottom = top // prime, bottom // prime
    if (top, bottom) != (metadata["simplified_numerator"], metadata["simplified_denominator"]) or not lines:
        return None
    return lines, f"{top}/{bottom}"


_WAYS: dict[str, Callable[[Mapping[str, Any]], Worked]] = {
    "chain_sum": _expression,
    "products": _expression,
    "basic_arithmetic": _expression,
    "simple_equations": _equation,
    "fraction_simplification": _fraction,
}
