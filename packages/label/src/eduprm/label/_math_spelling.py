r"""One spelling of a formula before it is taken apart: what math-verify misreads. Runs in the worker.

What it is for: "~" before a unit, squared units, upright constants (\mathrm{e}), the empty set, repeating decimals,
spaced thousands and the characters of `characters`. It changes the writing, never the value. Source: ours, found by
comparing math-verify 0.9 with equal pairs.
"""

from __future__ import annotations

import re

from eduprm.label.characters import fold
from eduprm.label.number_forms import join_thousands, repeating_as_fractions, without_typography

EMPTY_SET = r"\emptyset"

_TEXT = r"\\(?:text(?:rm|bf|normal)?|mathrm|mbox|operatorname)"
_TEXT_ONLY = re.compile(rf"{_TEXT}\{{([^{{}}\\$]*)\}}")
_OLD_FONT = re.compile(r"\{ *\\(?:rm|bf|it)(?![A-Za-z]) *([^{}\\]*)\}")
_UPRIGHT = re.compile(rf"{_TEXT} *\{{ *([ei]|\\pi) *\}}")
_TIE = re.compile(r"(?<=[^\s~0-9])~|~(?=[^\s~0-9])|(?<=[0-9])~(?=[0-9])")
_UNIT_POWER = re.compile(
    rf"(?:{_TEXT}\{{ *([A-Za-z/ .]{{1,40}}?) *(?:\^ ?\{{?-?[1-9]\}}?)? *\}}"
    rf"|(?<=[0-9}}A-Za-z]) +([a-z]{{2}}|[A-Za-z]{{3,40}}))"
    r"(?: ?\^ ?(?:\{ ?-?[1-9] ?\}|-?[1-9]))? *\Z"
)
_UNIT = re.compile(
    r"(?:[kcdmμ]?m|in|ft|yd|mi|units?|(?:centi|milli|kilo|deci)?met(?:er|re)s?|inch(?:es)?|feet|foot|yards?|miles?|[kcdm]?[gl]|"
    r"s|sec|seconds?|min|h|hours?|m/s|km/h|(?:square|cubic|sq\.?) [A-Za-z]+)"
)
_EMPTY = re.compile(
    r"\\(?:emptyset|varnothing|O)(?![A-Za-z])|\\\{ *\\\}|\{ *\}|\\(?:text|mbox|mathrm)\{ *(?:the )?empty set *\}"
    r"|(?:the )?empty set",
    re.IGNORECASE,
)
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])")
_SPACES = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~|\s")
_DEGREE_SIGN = re.compile(r"\^ *\{? *\\circ *\}?")


def plain_formula(text: str) -> str:
    r"""The formula without "$", a final full stop, units and unusual characters.

    Examples:
        >>> plain_formula(r"$6~\mathrm{cm}^2$."), plain_formula(r"\mathrm{e}^2"), plain_formula(r"\left\{ \right\}")
        ('6', 'e^2', '\\emptyset')
        >>> plain_formula(r"\text{Evelyn}"), plain_formula(r"0.\overline{3}\pi"), plain_formula("x^2")
        ('Evelyn', '\\frac{1}{3}\\pi', 'x^2')
    """
    text = fold(text.replace("\\$", "").replace("$", "")).strip().rstrip(".")
    if _EMPTY.fullmatch(_SPACES.sub(" ", _SIZES.sub("", text)).strip()):
        return EMPTY_SET
    text = without_typography(_OLD_FONT.sub(r"\\text{\1}", text))
    text = _TIE.sub(" ", _UPRIGHT.sub(_upright, text))
    text = repeating_as_fractions(join_thousands(text))
    text = _DEGREE_SIGN.sub(r"^\\circ ", text)
    whole = _TEXT_ONLY.fullmatch(text.strip())
    return " ".join((whole[1] if whole else _without_unit(text)).split())


def _upright(found: re.Match[str]) -> str:
    # "2\mathrm{e}" closes up, "\pi\mathrm{e}" must not become another command.
    return f" {found[1]}" if found.start() and found.string[found.start() - 1].isalpha() else found[1]


def _without_unit(text: str) -> str:
    """Without one unit and its exponent at the end; a number must stand before it."""
    found = _UNIT_POWER.search(text)
    if found is None or not text[: found.start()].strip(" \\,;:!"):
        return text
    unit = " ".join((found[1] or found[2]).split())
    return text[: found.start()].rstrip(" ").removesuffix("\\").rstrip() if _UNIT.fullmatch(unit) else text
