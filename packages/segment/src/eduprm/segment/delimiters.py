r"""Cut a text at delimiters (blank lines, newlines, any string), losing nothing of it.

A newline in a delimiter also stands for CRLF, and two newlines in a row for a blank line, which may hold blanks.
Blank lines that follow a delimiter of newlines stay with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from .spans import Span, check_text

_LINE_END = r"(?:\r\n|\n)"

BLANK_LINE = ("\n\n",)
"""Paragraphs, the common step of long solutions."""

NEWLINE = ("\n",)
"""Lines, the common step of short worked solutions."""


def delimiter_spans(text: str, delimiters: Sequence[str] | str = BLANK_LINE) -> list[Span]:
    r"""Character spans of the steps; a delimiter stays at the end of its step.

    A step of white space only joins the step before it, or the one after it at the very start, so no step is
    blank unless the whole text is. An empty text has no steps.

    Args:
        text: anything; the spans cover it from end to end.
        delimiters: strings that end a step; of several at one place the longest counts.

    Errors: ValueError for no delimiters or an empty one.

    Examples:
        >>> delimiter_spans("a\n\n\nb")
        [Span(start=0, stop=4), Span(start=4, stop=5)]
    """
    check_text(text)
    pattern = _pattern((delimiters,) if isinstance(delimiters, str) else tuple(delimiters))
    spans: list[Span] = []
    start = 0
    for stop in [*(match.end() for match in pattern.finditer(text)), len(text)]:
        if start == stop:
            continue
        if spans and (text[start:stop].isspace() or text[slice(*spans[-1])].isspace()):
            spans[-1] = Span(spans[-1].start, stop)
        else:
            spans.append(Span(start, stop))
        start = stop
    return spans


def split_text(text: str, delimiters: Sequence[str] | str = BLANK_LINE) -> list[str]:
    r"""The steps of a text by delimiter_spans; joined they are the text again.

    Examples:
        >>> split_text("2 * 3 = 6\r\n\r\n6 * 2 = 12\n")
        ['2 * 3 = 6\r\n\r\n', '6 * 2 = 12\n']
    """
    return [text[start:stop] for start, stop in delimiter_spans(text, delimiters)]


@lru_cache(maxsize=64)
def _pattern(delimiters: tuple[str, ...]) -> re.Pattern[str]:
    if not delimiters or not all(isinstance(delimiter, str) and delimiter for delimiter in delimiters):
        raise ValueError(f"expected delimiters that are strings and not empty, got {delimiters!r}")
    longest_first = sorted(
        {delimiter.replace("\r\n", "\n") for delimiter in delimiters}, key=lambda d: (-len(d), d)
    )
    return re.compile("|".join(map(_delimiter_pattern, longest_first)))


def _delimiter_pattern(delimiter: str) -> str:
    lines = [re.escape(line) for line in delimiter.split("\n")]
    pattern = lines[0]
    for before, line in pairwise(lines):
        blanks = r"[ \t]*" if not before and pattern else ""
        pattern += blanks + _LINE_END + line
    # further blank lines belong to the delimiter, or the next step would begin with them
    return pattern + (rf"(?:[ \t]*{_LINE_END})*" if delimiter.endswith("\n") else "")
