"""Words that may stand around a number without making it another number.

What it is for: tell "26 apples" and "5 km/h" (one number with its unit) from "5 dozen", "5 and a half", "5 xy" or
"5π" (another number, or none). In doubt the answer is no: a number that is not read is graded by its text, a
misread one is graded wrong in silence. Source: ours.
"""

from __future__ import annotations

import re
from math import prod

_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES |= {f"{word}s": scale for word, scale in _SCALES.items()}
_COUNTS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"""
_PARTS = (
    "half halves third thirds fourth fourths fifth fifths sixth sixths eighth eighths tenth tenths hundredths"
)
_OPERATIONS = """and or nor not neither plus minus negative times multiplied divided over squared cubed factorial root
    roots sqrt log sin cos tan exp mod modulo power twice double doubled triple tripled dozen dozens gross
    least most than between except"""
_CHANGES_THE_NUMBER = frozenset((*_COUNTS.split(), *_PARTS.split(), *_OPERATIONS.split(), *_SCALES))
_UNIT_WORDS = """g h l L m s C F am cm dm ft hr in kg km kW lb mg mi ml mL mm oz pm pt qt yd hrs lbs mph kph kmh min
    mins sec cu ea mo pc sq wk yr st nd rd th Hz Pa ha kJ kN kV mA mV kB MB GB TB a.m p.m"""
_UNITS = frozenset(_UNIT_WORDS.split())
_SHORT = "an as at be by do he is it me my of on so to up us we US Rs"
_SHORT_WORDS = frozenset(_SHORT.split())
_ARTICLES = frozenset(("a", "A", "I"))
_LETTER = "A-Za-zÀ-ÖØ-öø-ÿ"
_WORD = re.compile(rf"[ap]\.m(?![{_LETTER}])|[{_LETTER}]+(?:'[{_LETTER}]+)?")
_UNIT_POWER = re.compile(r"([A-Za-z]+) ?(?:\^ ?(?:\{ ?-?[1-9] ?\}|-?[1-9])|(?<=[mntdi])[23])(?![0-9A-Za-z^])")
_PRODUCT = re.compile(r"([A-Za-z]+)(?: ?\^ ?\{?[1-9]\}?)? ?(?:\\cdot|\*) ?(?=([A-Za-z]+))")
_MEASURE = re.compile(r"\A ?(?:(?![百千万亿兆十半成打余多以左或和与至到])[\u4e00-\u9fff]){1,8}[。.]?\Z")
"""Chinese units and nouns behind a number (12个苹果, 5厘米); not 万 (10,000), 半 (and a half), 以上 (at least)."""
_PROSE = re.compile(rf"(?:[{_LETTER} .,;:?!'\"#-]|(?<=[{_LETTER} ])/(?=[{_LETTER} ]))*+")


def scale_of(after: str) -> tuple[int, str]:
    """The product of the scale words that `after` begins with, and what follows them.

    Examples:
        >>> scale_of(" hundred thousand dollars"), scale_of(" apples")
        ((100000, ' dollars'), (1, ' apples'))
    """
    scales: list[int] = []
    end = 0
    while (found := _WORD.match(after, end + 1)) and after[end] in " -" and found[0].lower() in _SCALES:
        scales.append(_SCALES[found[0].lower()])
        end = found.end()
    return prod(scales), after[end:]


def drop_unit_powers(after: str) -> str:
    r"""Units behind a number without their exponents and the dots between them; what is no unit keeps its own.

    Examples:
        >>> [drop_unit_powers(text) for text in (" cm^2", r" kg \cdot m^{-3}", " x^2", "^2")]
        [' cm', ' kg m', ' x^2', '^2']
    """
    after = _PRODUCT.sub(lambda found: f"{found[1]} " if _are_units(*found.groups()) else found[0], after)
    return _UNIT_POWER.sub(lambda found: found[1] if _are_units(found[1]) else found[0], after)


def _are_units(*words: str) -> bool:
    return all(word in _UNITS or (len(word) > 2 and _is_prose(word)) for word in words)


def leave_the_number(before: str, after: str) -> bool:
    """Whether the text on both sides of a number is only units, punctuation and words that do not change it.

    Examples:
        >>> leave_the_number("about ", " km/h"), leave_the_number("", " apples a day."), leave_the_number("", "%")
        (True, True, False)
        >>> leave_the_number("", "x"), leave_the_number("", " dozen"), leave_the_number("", "π")
        (False, False, False)
    """
    after = _MEASURE.sub("", after)
    if not _PROSE.fullmatch(before) or not _PROSE.fullmatch(" " + after):
        return False
    if before and (before[-1].isalpha() or before.rstrip()[-1:] in ("-", ",", "/")):
        return False
    if after.lstrip().startswith((",-", "-,", "!", ":")):
        return False
    left, right = _WORD.findall(before), _WORD.findall(after)
    if after[:1].isalpha() and right[0] not in _UNITS:
        return False  # "5x", "5xy", "5k": glued to the number only a unit is one
    if _ARTICLES.intersection(left[-1:] + right[:1]):
        return False  # "5 a": a variable; "5 apples a day" is not
    return all(_is_prose(word) for word in left + right)


def _is_prose(word: str) -> bool:
    if word.lower() in _CHANGES_THE_NUMBER:
        return False
    return len(word) > 2 or word in _UNITS or word in _SHORT_WORDS or word in _ARTICLES
