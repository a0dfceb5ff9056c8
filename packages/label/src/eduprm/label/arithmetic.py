"""A small arithmetic parser with bounds: text to an exact fraction, never eval.

What it is for: the sides of the equations that `steps` finds: + - * / ^ and brackets over decimal numbers, and a
trailing per cent sign. Digits, depth, exponents and the size of every
intermediate result are bounded, so a tower of powers costs nothing. Ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 400
MAX_NUMBER_DIGITS = 60
MAX_DEPTH = 32
MAX_EXPONENT = 256
MAX_BITS = 4096

_TOKEN = re.compile(
    r"[ \t]*(?:(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)|(?P<op>[-+*/^()%]))"
)


class ArithmeticSyntaxError(ValueError):
    """The text is no arithmetic expression, or one beyond the bounds."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A parsed side of an equation.

    Attributes:
        value: Exact value, with "20%" as 20/100.
        plain_value: The same with "%" ignored, as in "1/4 * 100 = 25%"; equal to value where there is none.
        num_operators: Binary operators in it.
        decimals: Digits behind the point if the side is a bare number, else None.
    """

    value: Fraction
    plain_value: Fraction
    num_operators: int
    decimals: int | None


def parse_arithmetic(text: str) -> Arithmetic:
    """Parse one expression.

    Precedence is the usual one; "^" binds to the right; a number or bracket right before a bracket multiplies.

    Raises:
        ArithmeticSyntaxError: not an expression, division by zero, or beyond the bounds (400 characters, 60 digits a
            number, 32 levels, exponents up to 256, results of 4,096 bits).

    Examples:
        >>> parse_arithmetic("2 * (3 + 4) / 4").value
        Fraction(7, 2)
        >>> parse_arithmetic("20% * 50").value, parse_arithmetic("1,200.50").decimals
        (Fraction(10, 1), 2)
        >>> parse_arithmetic("9^9^9^9")
        Traceback (most recent call last):
        eduprm.label.arithmetic.ArithmeticSyntaxError: expected an exponent within ±256, got a larger one
    """
    if len(text) > MAX_CHARS:
        raise ArithmeticSyntaxError(f"expected at most {MAX_CHARS} characters, got {len(text)}")
    tokens = _tokens(text)
    value, num_operators = _Parser(tokens, percent=Fraction(1, 100)).parse()
    plain = _Parser(tokens, percent=Fraction(1)).parse()[0] if "%" in tokens else value
    numbers = [token for token in tokens if token[0] in "0123456789."]
    bare = len(numbers) == 1 and num_operators == 0 and "(" not in tokens
    decimals = len(numbers[0].partition(".")[2]) if bare else None
    return Arithmetic(value, plain, num_operators, decimals)


def numbers_in(text: str) -> list[Fraction]:
    """The numbers of an expression, in order, without signs.

    Raises:
        ArithmeticSyntaxError: something in it is no number, operator or bracket.

    Examples:
        >>> numbers_in("12 * (0.5 - 3)")
        [Fraction(12, 1), Fraction(1, 2), Fraction(3, 1)]
    """
    return [Fraction(token.replace(",", "")) for token in _tokens(text) if token[0] in "0123456789."]


def _tokens(text: str) -> list[str]:
    tokens, position, text = [], 0, text.rstrip(" \t")
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ArithmeticSyntaxError(
                f"expected a number or an operator, got {text[position : position + 10]!r}"
            )
        token = found["number"] or found["op"]
        if len(token) > MAX_NUMBER_DIGITS:
            raise ArithmeticSyntaxError(f"expected at most {MAX_NUMBER_DIGITS} digits, got {len(token)}")
        tokens.append(token)
        position = found.end()
    return tokens


class _Parser:
    """Recursive descent over a token list."""

    def __init__(self, tokens: list[str], *, percent: Fraction) -> None:
        self._tokens, self._position, self._depth = tokens, 0, 0
        self._percent = percent
        self._num_operators = 0

    def parse(self) -> tuple[Fraction, int]:
        value = self._sum()
        if self._next():
            raise ArithmeticSyntaxError(f"expected the end of the expression, got {self._next()!r}")
        return value, self._num_operators

    def _next(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next()
        self._position += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while self._next() in ("+", "-"):
            self._num_operators += 1
            sign = 1 if self._take() == "+" else -1
            value = _bounded(value + sign * self._product())
        return value

    def _product(self) -> Fraction:
        value = self._power()
        while self._next() in ("*", "/", "("):
            self._num_operators += 1
            operator = "*" if self._next() == "(" else self._take()
            factor = self._power()
            if operator == "/" and factor == 0:
                raise ArithmeticSyntaxError("expected a divisor other than 0")
            value = _bounded(value * factor if operator == "*" else value / factor)
        return value

    def _power(self) -> Fraction:
        if self._next() in ("+", "-"):
            self._enter()
            sign = 1 if self._take() == "+" else -1
            value = sign * self._power()
            self._depth -= 1
            return value
        base = self._atom()
        if self._next() != "^":
            return base
        self._take()
        self._num_operators += 1
        self._enter()
        value = _raise(base, self._power())
        self._depth -= 1
        return value

    def _atom(self) -> Fraction:
        token = self._take()
        if token == "(":
            self._enter()
            value = self._sum()
            self._depth -= 1
            if self._take() != ")":
                raise ArithmeticSyntaxError("expected a closing bracket")
        elif token and token[0] in "0123456789.":
            value = Fraction(token.replace(",", ""))
        else:
            raise ArithmeticSyntaxError(f"expected a number or a bracket, got {token or 'the end'!r}")
        if self._next() == "%":
            self._take()
            value *= self._percent
        return value

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ArithmeticSyntaxError(f"expected at most {MAX_DEPTH} levels")


def _raise(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise ArithmeticSyntaxError("expected a whole exponent")
    if abs(exponent) > MAX_EXPONENT:
        raise ArithmeticSyntaxError(f"expected an exponent within ±{MAX_EXPONENT}, got a larger one")
    if base == 0 and exponent < 0:
        raise ArithmeticSyntaxError("expected a divisor other than 0")
    if _bits(base) * abs(int(exponent)) > MAX_BITS:
        raise ArithmeticSyntaxError(f"expected results of at most {MAX_BITS} bits")
    return base ** int(exponent)


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > MAX_BITS:
        raise ArithmeticSyntaxError(f"expected results of at most {MAX_BITS} bits")
    return value
