"""Spans that cover a sequence from end to end, and the cuts they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from operator import index
from typing import NamedTuple


class Span(NamedTuple):
    """A half-open range of positions: start is in it, stop is not.

    Examples:
        >>> "abcdef"[slice(*Span(2, 4))], Span(2, 4).size
        ('cd', 2)
    """

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many positions it covers."""
        return self.stop - self.start


def spans_from_anchors(anchors: Iterable[int], length: int) -> list[Span]:
    """Spans over ``range(length)`` that begin at 0 and at each anchor; none is empty.

    Args:
        anchors: positions from 0 to length - 1, in any order; repeats and 0 are harmless.
        length: of the sequence; 0 gives no spans.

    Errors: ValueError for a negative length or an anchor outside the sequence.

    Examples:
        >>> spans_from_anchors([4, 2], 6)
        [Span(start=0, stop=2), Span(start=2, stop=4), Span(start=4, stop=6)]
    """
    length = index(length)
    if length < 0:
        raise ValueError(f"expected a length of 0 or more, got {length}")
    cuts = sorted({index(anchor) for anchor in anchors})
    if cuts and not (cuts[0] >= 0 and cuts[-1] < length):
        wrong = cuts[0] if cuts[0] < 0 else cuts[-1]
        raise ValueError(f"expected anchors from 0 to {length - 1} (length {length}), got {wrong}")
    if not length:
        return []
    starts = [0, *(cut for cut in cuts if cut > 0)]
    return [Span(start, stop) for start, stop in zip(starts, [*starts[1:], length], strict=True)]


def fixed_length_spans(length: int, size: int) -> list[Span]:
    """Spans of ``size`` positions each; the last one may be shorter.

    Errors: ValueError for a negative length or a size below 1.

    Examples:
        >>> fixed_length_spans(5, 2)
        [Span(start=0, stop=2), Span(start=2, stop=4), Span(start=4, stop=5)]
    """
    check_size(size, "a size")
    return spans_from_anchors(range(0, length, size), length)


def check_text(text: str) -> None:
    """Raise TypeError for what is no string.

    Examples:
        >>> check_text("a")
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a text as a string, got {type(text).__name__}")


def check_size(size: int, what: str) -> None:
    """Raise ValueError unless a size is a whole number of 1 or more; `what` names it.

    Examples:
        >>> check_size(24, "words")
    """
    if not isinstance(size, Integral) or size < 1:
        raise ValueError(f"expected {what} of 1 or more, got {size!r}")


def check_spans(spans: Sequence[Span], length: int) -> None:
    """Raise ValueError unless the spans cover ``range(length)`` in order, without gap, overlap or empty span.

    Examples:
        >>> check_spans([Span(0, 2), Span(2, 3)], 3)
    """
    at = 0
    for number, (start, stop) in enumerate(spans):
        if start != at or stop <= start:
            raise ValueError(
                f"expected span {number} to begin at {at} and not be empty, got ({start}, {stop})"
            )
        at = stop
    if at != length:
        raise ValueError(f"expected spans up to {length}, got spans up to {at}")


def token_spans(char_spans: Sequence[Span], token_texts: Sequence[str]) -> list[Span]:
    """Carry character spans over to tokens: a token belongs to the span that its last character lies in.

    A token that crosses a border therefore begins the later step (after ``". "`` comes the token ``" so"``), and a
    span inside one token vanishes. Tokens without text (a stop token, half a character) join the step before them.

    Args:
        char_spans: spans that cover the joined text.
        token_texts: decoded text per token; joined they are the text that was cut.

    Errors: ValueError when the spans do not cover the joined text.

    Examples:
        >>> token_spans([Span(0, 4), Span(4, 6)], ["ab", ".", " so", ""])
        [Span(start=0, stop=2), Span(start=2, stop=4)]
    """
    check_spans(char_spans, sum(map(len, token_texts)))
    borders = iter([span.start for span in char_spans[1:]])
    border = next(borders, None)
    anchors, at = [], 0
    for position, text in enumerate(token_texts):
        at += len(text)
        if text and border is not None and at > border:
            anchors.append(position)
            while border is not None and at > border:
                border = next(borders, None)
    return spans_from_anchors(anchors, len(token_texts))
