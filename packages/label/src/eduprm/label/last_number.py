r"""The last number in a text that marks no answer.

What it is for: "we get 7 and then 8 apples", "so it is 1.5 \times 10^3". Every scan is linear.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from eduprm.label.answer_bodies import MAX_ANSWER_CHARS
from eduprm.label.characters import fold
from eduprm.label.numeric import MIXED, SCIENTIFIC

_THIN = re.compile(r"(?<=[0-9])(?:\\,|\{,\}|,\\!|[\u00a0\u2009\u202f])(?=[0-9]{3}(?![0-9]))")
_FRAC = r"(?:[0-9]{1,100} ?)?\\[cdt]?frac *\{ *[0-9]{1,100} *\} *\{ *[0-9]{1,100} *\}"
_REPEATING = r"[0-9]{0,100}\.[0-9]{0,100}(?:\\(?:overline|bar) *\{[0-9]{1,100}\}|(?<=[0-9.])\([0-9]{1,100}\))"
_TIMES_POWER = r"(?: ?(?:\\times|\\cdot|[xX*]) ?10 ?\^ ?(?:\{ ?-?[0-9]{1,9} ?\}|-?[0-9]{1,9}))?"
_NUMBER = re.compile(
    rf"(?:(?<![0-9A-Za-z)}}])-)?(?:{_FRAC}|{_REPEATING}|{MIXED}|(?:{SCIENTIFIC})(?:{_TIMES_POWER})(?:/[0-9]+)?)"
)
# Before a fraction that is the numerator or denominator of another: the innermost is not the value of the whole.
_WITHIN = re.compile(r"(?:frac *|\} *)\{ *\Z")


def last_number(text: str, *, without: Sequence[tuple[int, int]] = ()) -> str | None:
    r"""The last number, as it is written.

    Args:
        text: Any text.
        without: Spans to pass over (headings, prose about the answer) where another number stands elsewhere.

    Examples:
        >>> last_number("first 5, then 8 apples"), last_number("14. This is 2 more", without=[(4, 18)])
        ('8', '14')
        >>> last_number(r"so 1.5 \times 10^3 in all"), last_number("½ a cup")
        ('1.5 \\times 10^3', '\\frac{1}{2}')
        >>> last_number(r"so \frac{1}{\frac{1}{\frac{1}{2}}") is None  # nested, with a brace too few
        True
    """
    rest = text
    for start, end in without:
        rest = rest[:start] + " " * (min(end, len(rest)) - start) + rest[end:]
    found = _last(rest) or (_last(text) if without else None)
    return None if found is None or len(found) > MAX_ANSWER_CHARS else found


def _last(text: str) -> str | None:
    text = fold(_THIN.sub(",", text))
    found = deque(_NUMBER.finditer(text), maxlen=1)
    if not found or (
        "frac" in found[0][0] and _WITHIN.search(text[max(0, found[0].start() - 20) : found[0].start()])
    ):
        return None
    return found[0][0]
