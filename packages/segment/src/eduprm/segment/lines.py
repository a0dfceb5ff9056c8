"""Where a line begins among tokens: at the first token with text behind a line break.

A line therefore ends with the token that holds its break, and blank tokens that follow stay with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class LineStarts(NamedTuple):
    """Positions at which a line begins, and whether a line break still waits for the text behind it."""

    starts: list[int]
    pending: bool


def line_starts(token_texts: Sequence[str], *, pending: bool = False) -> LineStarts:
    r"""Positions of the tokens that begin a line, in order; the beginning of the whole is none.

    Args:
        token_texts: decoded text per token.
        pending: whether what stands before these tokens ends in a line break with no text behind it, so that a path
            can be read piece by piece.

    Examples:
        >>> line_starts(["2", " = 2", "\n", " ", "so", " 4\n"])
        LineStarts(starts=[4], pending=True)
        >>> line_starts(["#### 4"], pending=True)
        LineStarts(starts=[0], pending=False)
    """
    found = []
    for position, text in enumerate(token_texts):
        if pending and text.strip():
            found.append(position)
            pending = False
        pending = pending or "\n" in text
    return LineStarts(found, pending)
