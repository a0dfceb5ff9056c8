r"""What stands behind the mark of an answer: on its line, on the next that is not blank, or in a display.

What it is for: cutting the answer's text out, given where its mark ends. It does not know which mark decides (see
`answers`) nor whether the text is an answer (see `answer_prose`). Every scan is linear.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_ANSWER_CHARS = 10_000

MARKDOWN = " \t\r\n*`"
_DECORATION = " \t\r*_`:=#>$.~-"
_DISPLAYS = {"$$": "$$", r"\[": r"\]", "```": "```"}
_BEGIN = re.compile(r"\\begin\{([A-Za-z]{1,20}\*?)\}")
_BULLET = re.compile(r"[ \t]*[-*•][ \t]+(?=\S)")
_SENTENCE_END = re.compile(
    r"(?<!\bapprox)(?<!\bca)[.!?](?=[*_\"')\]}$]{0,3}(?:\s|$))|[。！？；]|，(?=[\u4e00-\u9fff])"
)
_PAIRS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_FENCE_NAME = re.compile(r"```[A-Za-z]{0,12}[ \t]*(?:\n|$)")


class Body(NamedTuple):
    """The text of an answer.

    Attributes:
        text: As it is written.
        end: Where it ends in the solution.
        below: Whether it stands on a later line than its mark.
    """

    text: str
    end: int
    below: bool


def body_behind(text: str, position: int) -> Body | None:
    r"""The line behind `position`, or the next line or display that is not blank; None where nothing follows.

    Examples:
        >>> body_behind("#### 14 apples\nBye", 4).text, body_behind("Answer:**\n\n14\n", 7).text
        (' 14 apples', '14')
        >>> body_behind("is\n\\[\n\\frac{1}{2}\n\\]\nBye", 2).text, body_behind("#### ", 4) is None
        ('\\[ \\frac{1}{2} \\]', True)
    """
    start, below = position, False
    while start < len(text):
        stop = _line_end(text, start)
        if display := _display(text, start, stop):
            return Body(display[0], display[1], below)
        line = text[start : min(stop, start + MAX_ANSWER_CHARS + 1)]
        if line.strip(_DECORATION):
            bullet = _BULLET.match(line) if below else None
            return Body(line[bullet.end() :] if bullet else line, stop, below)
        start, below = stop + 1, True
    return None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _display(text: str, start: int, stop: int) -> tuple[str, int] | None:
    """A display that opens on this line, before anything else, and closes on a later one: one line of text, its end."""
    opens = start
    while opens < stop and text[opens] in " \t*:":
        opens += 1
    begin = _BEGIN.match(text, opens)
    opening = begin[0] if begin else next((mark for mark in _DISPLAYS if text.startswith(mark, opens)), "")
    if not opening:
        return None
    closing = rf"\end{{{begin[1]}}}" if begin else _DISPLAYS[opening]
    close = text.find(closing, opens + len(opening), opens + MAX_ANSWER_CHARS)
    if close < stop:  # closed on this line, or never
        return None
    if opening == "```":
        name = _FENCE_NAME.match(text, opens)
        inside = text[name.end() : close] if name else ""
        return " ".join(inside.split()), close + len(closing)
    return " ".join(text[opens : close + len(closing)].split()), close + len(closing)


def first_sentence(body: str) -> str:
    """The body up to the end of its first sentence; a display is taken whole.

    Examples:
        >>> first_sentence(" 26. I am sure"), first_sentence("3.5 approx. so"), first_sentence("**14.** Bye")
        (' 26', '3.5 approx. so', '**14')
    """
    if body.startswith((r"\[", "$$")) and body.endswith((r"\]", "$$")):
        return body
    stop = _SENTENCE_END.search(body)
    return body if stop is None else body[: stop.start()]


def unwrap(body: str) -> str | None:
    """Strip markdown, a final full stop and one pair of formula marks; None where nothing is left.

    Examples:
        >>> unwrap(" **$26$**. "), unwrap("12。")
        ('26', '12')
    """
    if len(body) > MAX_ANSWER_CHARS:
        return None
    body = body.strip(MARKDOWN).rstrip(".。．").strip(MARKDOWN)
    for opening, closing in _PAIRS:
        if len(body) > len(opening) + len(closing) and body.startswith(opening) and body.endswith(closing):
            body = body[len(opening) : -len(closing)].strip()
            break
    return body or None
