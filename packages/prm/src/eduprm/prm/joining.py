r"""Join a list of steps as the text was that a PRM was trained on.

For PRMs without a separator, whose steps are pieces of a text and carry their own line breaks. Lists of steps as
benchmarks and services bring them carry none, and would read `2 + 7 = 99 - 2 = 7`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["joined_line", "missing_joiner", "with_joiner"]

_BREAK_AT_END = re.compile(r"\n[^\S\n]*\Z")
_BREAK_AT_START = re.compile(r"[^\S\n]*\n")


def _border(before: str, after: str) -> str:
    if _BREAK_AT_END.search(before) or _BREAK_AT_START.match(after):
        return "break"
    return "blank" if before[-1:].isspace() or after[:1].isspace() else "bare"


def _borders(steps: Sequence[str], *, complete: bool) -> list[tuple[str, str]]:
    """Every step but the last with the one behind it; the last with nothing where more is to come."""
    return list(pairwise(steps if complete else [*steps, ""]))


def missing_joiner(steps: Sequence[str], joiner: str, *, complete: bool = True) -> bool:
    r"""Whether a solution given as a list of steps lacks the line breaks between them.

    It does where no two steps have a line break between them. Where some have, the list carries its own, and what lies
    between the others was cut within a line; but where that is less than half and all the others follow each other
    without so much as a blank, single breaks are taken for left-overs of a list that was stripped.

    Args:
        steps: of one solution.
        joiner: what to put between them; "" never lacks.
        complete: whether the last step ends the solution; if not, it lacks a line break like any other, so that the
            beginning of a solution is read as in the whole.

    Examples:
        >>> missing_joiner(["2 + 7 = 9", "9 - 2 = 7"], "\n"), missing_joiner(["2 + 7", " = 9\n", "9 - 2 = 7"], "\n")
        (True, False)
    """
    borders = [_border(before, after) for before, after in _borders(steps, complete=complete)]
    if not joiner or not borders:
        return False
    breaks = borders.count("break")
    return breaks == 0 or (2 * breaks < len(borders) and "blank" not in borders)


def with_joiner(steps: Sequence[str], joiner: str, *, complete: bool = True) -> list[str]:
    r"""The steps with the joiner behind each that is followed by another without a line break between them.

    The last one gets it too where it does not end the solution.

    Examples:
        >>> with_joiner(["2 + 7 = 9", "9 - 2 = 7"], "\n")
        ['2 + 7 = 9\n', '9 - 2 = 7']
    """
    joined = [
        before if _border(before, after) == "break" else before + joiner
        for before, after in _borders(steps, complete=complete)
    ]
    return [*joined, *(steps[-1:] if complete else [])]


def joined_line(count: int, total: int, joiner: str) -> str:
    r"""What is said when lists of steps were joined.

    Examples:
        >>> joined_line(1, 2, "\n")
        "1 of 2 lists of steps carry no line breaks: '\\n' was put between their steps, as in the texts of training"
    """
    return (
        f"{count} of {total} lists of steps carry no line breaks: {joiner!r} was put between their steps, as in the "
        "texts of training"
    )
