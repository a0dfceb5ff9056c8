"""Numbers as they stand in answers, read exactly.

What it is for: turn "$1,000.00", "26 apples", "\\frac{3}{4}" or "2.5 million" into a `Fraction`, so that two answers
are compared without floats. It does not know where in a solution the answer stands (see `answers`), nor symbols
(see `math_grader`). Text is hostile: nothing is evaluated, digits and exponents are bounded, every pattern is
linear. Source: the usual clean-up of GSM8K answers, written anew; the bounds are ours.
"""

from __future__ import annotations

import re
from fractions import Fraction

from eduprm.label.characters import fold
from eduprm.label.number_forms import (
    join_thousands,
    repeating_as_fractions,
    scientific_as_exponents,
    without_typography,
)
from eduprm.label.number_words import drop_unit_powers, leave_the_number, scale_of

MAX_NUMBER_CHARS = 2000
MAX_DIGITS = 1000
MAX_EXPONENT = 1000

_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
SCIENTIFIC = rf"(?:{_PLAIN})(?:[eE][+-]?[0-9]+(?![0-9A-Za-z]))?"
MIXED = r"[0-9]+ +[0-9]+ ?/ ?[0-9]+(?![.,]?[0-9])"
_NUMBER = re.compile(
    rf"(?P<sign>(?:[+-] ?)?)(?:(?P<mixed>{MIXED})|(?P<top>{SCIENTIFIC})(?: ?/ ?(?P<bottom>{SCIENTIFIC}))?)"
)
_FRAC = re.compile(r"([0-9]?) *\\[cdt]?frac *(?:\{ *(-?[0-9]+) *\}|([0-9])) *(?:\{ *([0-9]+) *\}|([0-9]))")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=[^\s*])([^*]*)(?<=\S)\1(?![\w*])")
_TEXT = re.compile(
    r"\\(?:text(?:rm|bf|it|normal|sf)?|math(?:rm|bf|sf|it)|mbox|operatorname|rm|bf)(?![A-Za-z]) *"
    r"\{((?:[^{}\\]|\^ ?\{-?[0-9]\})*)\}"
)
_UNIT_FRACTION = re.compile(r"\\[cdt]?frac *\{ *([A-Za-z]+) *\} *\{ *([A-Za-z]+ ?(?:\^ ?\{?[0-9]\}?)?) *\}")
_TRANSLATE = str.maketrans({**dict.fromkeys("$€£¥₹%`", " ")})
_LATEX_NOISE = re.compile(
    r"\\[!,;: ]|\\(?:left|right|displaystyle)(?![A-Za-z])|\^ *\{? *\\circ *\}?|\\(?=[$%])|\\[()\[\]]"
)
_TIE = re.compile(r"(?<=[^\s~0-9])~|~(?=[^\s~0-9])")  # "5~6" is a range, "~5" about 5
_OLD_FONT = re.compile(r"\{ *\\(?:rm|bf|it)(?![A-Za-z]) *([^{}\\]*)\}")
_NO_LEFT_SIDE = re.compile(r"[=<>!:;~≠≤≥≈]|,(?![0-9]{3})|\\(?!(?:times|cdot|div)(?![A-Za-z]))")
_TIMES = re.compile(r"(?<=[0-9)]) ?x ?(?=[0-9(])")
_EXPONENT = re.compile(r"(?<=[0-9])[eE](?=[+-]?[0-9])")
_TERM = re.compile(r"[0-9+*/^-] ?[A-Za-z](?![A-Za-z])|(?<![A-Za-z])[A-Za-z] ?[+*/^-]")


def parse_number(text: str, *, units: bool = True) -> Fraction | None:
    """Read the one number in `text` exactly, or return None.

    Args:
        text: An answer. Longer than 2,000 characters, more than 1,000 digits or an exponent beyond ±1,000 gives None.
        units: True strips words around the number that leave it the same ("26 apples", "about 3 km/h"; scale words
            such as "million" multiply) and takes the right-hand side of "x = 5" and "3 * 4 = 12". False wants nothing
            but the number. Anything else beside the number ("5 dozen", "5²", "5 or 6", "1*2/3") gives None.

    Examples:
        >>> parse_number("$1,000.50")
        Fraction(2001, 2)
        >>> parse_number("26 apples"), parse_number("2.5 million"), parse_number("3 1/2")
        (Fraction(26, 1), Fraction(2500000, 1), Fraction(7, 2))
        >>> parse_number(r"2\\frac{1}{2}"), parse_number(r"\\frac{1}{2}3"), parse_number("1*2/3")
        (Fraction(5, 2), None, None)
        >>> parse_number("1, 2") is None, parse_number("5x") is None, parse_number("1e999999999") is None
        (True, True, True)
    """
    if len(text) > MAX_NUMBER_CHARS:
        return None
    cleaned = _clean(text)
    left = ""
    if units and "=" in cleaned:
        left, cleaned = (side.strip() for side in cleaned.rsplit("=", 1))
        if _NO_LEFT_SIDE.search(left) or _TERM.search(_TIMES.sub("*", _EXPONENT.sub("*", left))):
            return None  # "12 != 13", "x = 5 or x = 6", "2x = 5"
    found = _NUMBER.search(cleaned)
    if found is None:
        return None
    before, after = cleaned[: found.start()], cleaned[found.end() :]
    if before and found["sign"].endswith(" "):
        return None  # "x - 1": a term, not a sign
    scale, after = scale_of(drop_unit_powers(after)) if units else (1, after.rstrip("."))
    if not leave_the_number(before, after) if units else before or after:
        return None
    value = _value(found)
    if value is None or (left and parse_number(left, units=False) not in (None, value * scale)):
        return None  # "6 = 5"
    return value * scale


def _clean(text: str) -> str:
    text = join_thousands(repeating_as_fractions(without_typography(_OLD_FONT.sub(r" \1 ", fold(text)))))
    text = _TIE.sub(" ", _LATEX_NOISE.sub(_space_or_nothing, text))
    text = _UNIT_FRACTION.sub(r" \1/\2 ", _TEXT.sub(r" \1 ", text))
    text = scientific_as_exponents(text)
    text = _FRAC.sub(_plain_fraction, text)
    text = _EMPHASIS.sub(_unmarked, text.translate(_TRANSLATE).strip())
    text = " ".join(text.strip("*").split())
    return text[1:-1].strip() if text[:1] == "{" and text.find("}") == len(text) - 1 else text


def _plain_fraction(match: re.Match[str]) -> str:
    # A digit before makes it a mixed number, a digit behind no number at all: both must stay apart from it.
    whole = f"{match[1]} " if match[1] else ""
    return f"{whole}{match[2] or match[3]}/{match[4] or match[5]} "


def _unmarked(match: re.Match[str]) -> str:
    # Quotes stay in place of inner stars, so that "2 *1/2*" does not close up to a mixed number.
    return match[2] if len(match[0]) == len(match.string) else f'"{match[2]}"'


def _space_or_nothing(match: re.Match[str]) -> str:
    # "10,\!080" must close up, "5\,cm" and "1\,2" must not run together.
    return " " if match[0] in ("\\ ", "\\,", "\\;", "\\:") else ""


def _value(found: re.Match[str]) -> Fraction | None:
    sign = -1 if "-" in found["sign"] else 1
    if found["mixed"]:
        whole, _, rest = found["mixed"].partition(" ")
        top, _, bottom = rest.partition("/")
        parts = [_literal(whole), _literal(top.strip()), _literal(bottom.strip())]
        if None in parts or not parts[1] < parts[2]:  # type: ignore[operator]
            return None  # "2 5/3" reads as a mixed number or as a product
        return sign * (parts[0] + parts[1] / parts[2])  # type: ignore[operator]
    number = _literal(found["top"])
    if number is None or found["bottom"] is None:
        return None if number is None else sign * number
    divisor = _literal(found["bottom"])
    return sign * number / divisor if divisor else None


def _literal(text: str) -> Fraction | None:
    """Read digits with optional commas, decimals and exponent, within the bounds."""
    mantissa, _, exponent = text.replace(",", "").lower().partition("e")
    if len(mantissa) > MAX_DIGITS or len(exponent) > 6:
        return None
    power = int(exponent) if exponent else 0
    if abs(power) > MAX_EXPONENT:
        return None
    whole, _, decimals = mantissa.partition(".")
    digits = Fraction(int((whole + decimals) or "0"), 10 ** len(decimals))
    return digits * Fraction(10) ** power


def number_equal(a: str | None, b: str | None) -> bool:
    """Whether both texts hold one number each and the two are exactly equal.

    Commas, currency signs, per cent signs and units are ignored; nothing is rounded.

    Examples:
        >>> number_equal("$1,200.00", "1200"), number_equal("0.5", "1/2"), number_equal("0.33", "1/3")
        (True, True, False)
        >>> number_equal(None, "3"), number_equal("none", "none")
        (False, False)
    """
    if a is None or b is None:
        return False
    left = parse_number(a)
    return left is not None and left == parse_number(b)


def canonical_answer(answer: str) -> str:
    """One spelling per answer, so that votes count equal answers together.

    Numbers become plain digits (or "p/q" where decimals do not end); other text has its white space collapsed and
    loses outer stars, backticks and a final full stop.

    Examples:
        >>> canonical_answer("$1,200.00"), canonical_answer("26 apples"), canonical_answer("2/6")
        ('1200', '26', '1/3')
        >>> canonical_answer("x +  1")
        'x + 1'
    """
    value = parse_number(answer)
    return " ".join(answer.split()).strip("*` ").rstrip(".") if value is None else format_number(value)


def format_number(value: Fraction) -> str:
    """Write a fraction as an integer, a finite decimal, or "p/q".

    Examples:
        >>> format_number(Fraction(5, 2)), format_number(Fraction(-1, 3)), format_number(Fraction(12))
        ('2.5', '-1/3', '12')
    """
    rest, decimals = value.denominator, 0
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest //= prime
            count += 1
        decimals = max(decimals, count)
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    if decimals == 0:
        return str(value.numerator)
    digits = str(abs(value.numerator) * 10**decimals // value.denominator).rjust(decimals + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"
