"""Find the final answer in a solution's text.

What it is for: one rule for every grader and for votes. It does not know whether the answer is right, nor what kind of
answer the task wants. The LAST marker in the text decides; a last marker that is broken (a box that never closes,
"####" with nothing behind it) gives None and never credits an earlier one (marin-community/marin#9163).
All scans are linear in the text: model output is hostile.
"""

from __future__ import annotations

import re
from collections import deque

from eduprm.label.numeric import MIXED, SCIENTIFIC

MAX_ANSWER_CHARS = 10_000

_MARKER = re.compile(
    r"(?P<hash>\#{4})"
    r"|(?P<box>\\f?boxed(?![A-Za-z]))"
    r"|(?P<phrase>(?i:\banswer(?:\s{1,3}is|\s{0,3}[:=])(?:\s|[:=]){0,4}))"
    r"|(?P<letter>(?m:^[ \t]{0,8}A[ \t]{0,2}:))"
)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_LAST_NUMBER = re.compile(rf"(?:(?<![0-9A-Za-z)])-)?(?:{MIXED}|{SCIENTIFIC}(?:/[0-9]+)?)")
_SENTENCE_END = re.compile(r"[.!](?=\s|$)")
_MARKDOWN = " \t\r\n*`"


def extract_answer(text: str) -> str | None:
    r"""Return the final answer in `text`, cleaned of its wrapping, or None.

    The last of these markers wins: "#### x", a balanced ``\boxed{x}``, "answer is x" / "answer: x", a line "A: x".
    Without any marker the last number in the text is taken.

    Args:
        text: A solution, any length, any content.

    Returns:
        The answer (at most 10,000 characters), or None where there is none or the last marker is broken.

    Examples:
        >>> extract_answer("3 * 4 = 12\n#### 12")
        '12'
        >>> extract_answer(r"so \boxed{4}, no: \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
        >>> extract_answer(r"\boxed{4} and then \boxed{5") is None
        True
        >>> extract_answer("The answer is **26**. Bye"), extract_answer("we get 7 and then 8 apples")
        ('26', '8')
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a solution as a string, got {type(text).__name__}")
    last = _last(_MARKER, text)
    if last is None:
        found = _last(_LAST_NUMBER, text)
        return None if found is None or len(found[0]) > MAX_ANSWER_CHARS else found[0]
    body = _marked(text, last, whole=False)
    return None if body is None else unwrap(body)


def extract_marked(text: str, *, whole: bool) -> str | None:
    r"""Return what stands behind the last marker as it is written: no wrapping but outer white space is taken off.

    Args:
        text: A solution, any length, any content.
        whole: True takes everything up to the end of the text (grids, lists of moves), False one line.

    Returns:
        The answer (at most 10,000 characters); None where there is no marker or the last one is broken.

    Examples:
        >>> extract_marked("so\n#### 1 2\n2 1\n", whole=True), extract_marked("#### It ends.\nBye", whole=False)
        ('1 2\n2 1', 'It ends.')
    """
    last = _last(_MARKER, text)
    body = None if last is None else _marked(text, last, whole=whole)
    return None if body is None or len(body) > MAX_ANSWER_CHARS else body.strip() or None


def _marked(text: str, marker: re.Match[str], *, whole: bool) -> str | None:
    if marker["box"]:
        return _box_body(text, marker.end())
    if whole:
        return text[marker.end() :]
    body = text[marker.end() :].partition("\n")[0]
    if marker["phrase"] and (stop := _SENTENCE_END.search(body)):
        body = body[: stop.start()]
    return body


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _box_body(text: str, position: int) -> str | None:
    """Read the balanced group that opens at `position`; None if it never closes."""
    start = position
    while start < len(text) and text[start] in " \t":
        start += 1
    if start == len(text):
        return None
    if text[start] != "{":  # TeX's "\boxed 5": the token up to white space or the end of the formula
        return re.split(r"[\s$]", text[start : start + MAX_ANSWER_CHARS], maxsplit=1)[0]
    depth = 0
    for found in _BRACES.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return text[start + 1 : found.start()]
    return None


def unwrap(body: str) -> str | None:
    """Strip markdown, a final full stop and one pair of formula marks; None where nothing is left.

    Examples:
        >>> unwrap(" **$26$**. ")
        '26'
    """
    if len(body) > MAX_ANSWER_CHARS:
        return None
    body = body.strip(_MARKDOWN).rstrip(".").strip(_MARKDOWN)
    for opening, closing in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(body) > len(opening) + len(closing) and body.startswith(opening) and body.endswith(closing):
            body = body[len(opening) : -len(closing)].strip()
            break
    return body or None
