"""Check the arithmetic a solution shows: is every equation on a line true?

What it is for: gold step labels for free on tasks whose steps are sums ("3 * 4 = 12"), and a look at GSM8K's
"<<48/2=24>>". It does not know the problem, so a true equation may still be beside the point (see `derivation`). Ours.

Rules. A line is cut into runs of arithmetic; a run with "=" is a chain of sides, each neighbouring pair one equation.
- "×", "÷", "−", "·", "x" between numbers, LaTeX's \\times, \\cdot, \\div are operators; currency signs are skipped.
- Rounding: a bare decimal such as 0.33 stands for what rounds or truncates to it (1/3, 0.334), never for a value whose
  decimals fit ("0.5 = 0.25 * 2" is exact). A whole number is rounded only behind "≈".
- "%" is read as /100 or ignored, whichever makes the equation true.
- A line of nothing but arithmetic must parse: "3 * = 12" is an equation that is wrong. In prose, what does not parse
  ("2x = 10", "5 dollars + 3 = 8") is not judged. Sizes are bounded; beyond the bounds an equation counts as wrong.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from eduprm.label.arithmetic import MAX_CHARS, Arithmetic, ArithmeticSyntaxError, parse_arithmetic

_ANNOTATION = re.compile(r"<<([^<>\n]{1,400})>>")
_LATEX = re.compile(r"\\(?:times|cdot|div|approx|left|right|[$%,!;() \[\]])")
_LATEX_AS = {"\\times": "*", "\\cdot": "*", "\\div": "/", "\\approx": "≈", "\\%": "%", "\\(": " ", "\\)": " "}
_SAME_LENGTH = str.maketrans(
    {
        "×": "*",
        "·": "*",
        "⋅": "*",
        "∙": "*",
        "∗": "*",
        "÷": "/",
        "∕": "/",
        "−": "-",
        "–": "-",
        "﹣": "-",
        "＝": "=",
    }
    | {"$": " ", "€": " ", "£": " ", "\r": " ", "\u00a0": " "}
)
_TIMES_LETTER = re.compile(r"(?<=[0-9)%])([ \t]?)[xX](?=[ \t]?[0-9.(])")
_POWER_STARS = re.compile(r"(?<=[0-9)])\*\*(?=[0-9(])")
_ENUMERATOR = re.compile(r"[ \t]*(?:\(?[0-9]{1,3}[.)]|[-*•])[ \t]+")
_RUN = re.compile(r"(?:[0-9+\-*/^()%=≈ \t]|\.(?=[0-9])|(?<=[0-9]),(?=[0-9]{3}(?![0-9])))+")


class Equation(NamedTuple):
    """One "left = right": its character span in the text, its sides in ASCII, and what is wrong ("" if it holds)."""

    start: int
    stop: int
    left: str
    right: str
    why: str

    @property
    def holds(self) -> bool:
        """Whether both sides are equal (or one is the other, rounded)."""
        return not self.why


class StepCheck(NamedTuple):
    """The equations of one line that is not blank, with its span (without the newline)."""

    start: int
    stop: int
    equations: tuple[Equation, ...]

    @property
    def has_equation(self) -> bool:
        """Whether there was anything to judge."""
        return bool(self.equations)

    @property
    def valid(self) -> bool:
        """Whether every equation holds; True where there is none."""
        return all(equation.holds for equation in self.equations)


def check_steps(text: str) -> list[StepCheck]:
    """Check every line of a solution that is not blank.

    Args:
        text: A solution, any length, any content. Time is linear in it.

    Examples:
        >>> [(c.has_equation, c.valid) for c in check_steps("3 * 4 = 12\\n12 × 5 = 50\\n#### 50")]
        [(True, True), (True, False), (False, True)]
        >>> check_steps("so 48/2 = <<48/2=24>>24 clips")[0].equations[1]
        Equation(start=3, stop=23, left='48/2', right='24', why='')
        >>> [e.holds for e in check_steps("2*3*4 = 6*4 = 25")[0].equations]
        [True, False]
    """
    checks, start = [], 0
    for line in text.split("\n"):
        if line.strip():
            checks.append(StepCheck(start, start + len(line), tuple(_equations(line, start))))
        start += len(line) + 1
    return checks


def _equations(line: str, offset: int) -> list[Equation]:
    found: list[Equation] = []
    for annotation in _ANNOTATION.finditer(line):
        found += _chain(
            _same_length(annotation[1]), offset + annotation.start(1), whole=True, cut=(False, False)
        )
    if found or "<<" in line:
        line = _ANNOTATION.sub(lambda match: " " * len(match[0]), line)
    if "=" not in line and "≈" not in line and "\\approx" not in line and "＝" not in line:
        return found
    line = _same_length(line)
    if enumerator := _ENUMERATOR.match(line):
        line = " " * enumerator.end() + line[enumerator.end() :]
    runs = list(_RUN.finditer(line))
    whole = all(char in " .:;,`_*" for run in (_RUN.sub("", line),) for char in run)
    for run in runs:
        if "=" in run[0] or "≈" in run[0]:
            found += _chain(run[0], offset + run.start(), whole=whole, cut=_cut(line, run.start(), run.end()))
    return found


def _same_length(line: str) -> str:
    """ASCII operators in the same places, so that spans stay true."""
    if "\\" in line:
        line = _LATEX.sub(lambda match: _LATEX_AS.get(match[0], " ").ljust(len(match[0])), line)
    line = _POWER_STARS.sub("^ ", line.translate(_SAME_LENGTH)).replace("**", "  ")
    return _TIMES_LETTER.sub(r"\1*", line)


def _cut(line: str, start: int, stop: int) -> tuple[bool, bool]:
    """Whether the first or the last side of a run may be only half of what the prose around it says."""
    before, after = line[max(start - 8, 0) : start], line[stop : stop + 2]
    touches = bool(before) and line[start] not in " \t"
    attached = touches and (before[-1].isalnum() or before[-1] in ")]}")
    in_number = touches and before[-1] in ",.:" and before[-2:-1].isdigit()
    # Behind a word a leading sign may join two terms, one of which was prose: "5 dollars + 3 = 8".
    signed = bool(before.strip()) and line[start:stop].lstrip()[:1] in ("+", "-")
    # "= 12x" is a variable, "= 12cm" or "= 12 eggs" is a unit.
    variable = (
        (line[stop - 1].isdigit() or line[stop - 1] == ")")
        and after[:1].isalpha()
        and not after[1:].isalpha()
    )
    times = before.rstrip()[-2:] in (" x", " X")  # "60 minutes x 2/3 = 40"
    return attached or in_number or signed or times, variable


def _chain(run: str, offset: int, *, whole: bool, cut: tuple[bool, bool]) -> list[Equation]:
    """Equations between neighbouring sides of "a = b = c"."""
    spans = _sides(run)
    sides = [_side(run[start:stop]) for start, stop in spans]
    if not whole:
        sides[0] = "half an expression" if cut[0] else sides[0]
        sides[-1] = "half an expression" if cut[1] else sides[-1]
    if not whole and not any(isinstance(side, Arithmetic) and side.num_operators for side in sides):
        return []
    found = []
    for (left, right), ((start, middle), (second, stop)) in zip(
        pairwise(sides), pairwise(spans), strict=True
    ):
        if isinstance(left, Arithmetic) and isinstance(right, Arithmetic):
            why = "" if _equal(left, right, approximate="≈" in run[middle:second]) else "sides differ"
        elif whole:
            why = left if isinstance(left, str) else str(right)
        else:
            continue
        found.append(Equation(offset + start, offset + stop, run[start:middle], run[second:stop], why))
    return found


def _sides(run: str) -> list[tuple[int, int]]:
    """Spans between the equals signs, blanks stripped ("==" counts once)."""
    spans, start = [], 0
    for sign in [*re.finditer(r"[=≈]+", run), None]:
        stop = sign.start() if sign else len(run)
        side = run[start:stop]
        left = start + len(side) - len(side.lstrip())
        spans.append((left, max(left, start + len(side.rstrip()))))
        start = sign.end() if sign else stop
    return spans


def _side(text: str) -> Arithmetic | str:
    if len(text) > MAX_CHARS:
        return f"a side of more than {MAX_CHARS} characters"
    try:
        return parse_arithmetic(text)
    except ArithmeticSyntaxError as error:
        return str(error)


def _equal(left: Arithmetic, right: Arithmetic, *, approximate: bool) -> bool:
    pairs = {(left.value, right.value), (left.value, right.plain_value), (left.plain_value, right.value)}
    pairs.add((left.plain_value, right.plain_value))
    return any(
        a == b
        or _rounds_to(a, b, right.decimals, approximate)
        or _rounds_to(b, a, left.decimals, approximate)
        for a, b in pairs
    )


def _rounds_to(exact: Fraction, shown: Fraction, decimals: int | None, approximate: bool) -> bool:
    """Whether the bare number `shown` is `exact`, rounded or cut off at its last decimal."""
    if decimals is None or (decimals == 0 and not approximate):
        return False
    unit = Fraction(1, 10**decimals)
    truncated = abs(shown) <= abs(exact) < abs(shown) + unit and shown * exact >= 0
    return truncated or abs(exact - shown) <= unit / 2
