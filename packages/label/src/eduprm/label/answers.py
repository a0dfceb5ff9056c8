r"""Find the final answer in a solution's text.

What it is for: one rule for every grader and for votes. It does not know whether the answer is right, nor what kind of
answer the task wants. The LAST mark behind which an answer stands decides: prose behind it ("This answer is correct"),
a heading ("#### Check"), a mark inside a box or inside a thought is none. A last mark that is broken (a box that never
closes, "####" with nothing behind it) gives None and never credits an earlier one (marin-community/marin#9163).
All scans are linear in the text: model output is hostile.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Literal

from eduprm.label.answer_bodies import MAX_ANSWER_CHARS, body_behind, first_sentence, unwrap
from eduprm.label.answer_prose import (
    Verdict,
    is_anothers,
    is_certain_heading,
    is_short,
    judge_heading,
    judge_phrase,
    without_reason,
)
from eduprm.label.last_number import last_number
from eduprm.label.solution_text import solution_part

_MAX_MARKS = 50
"""Marks that are looked at, from the last; more are those of a model that repeats itself."""

_MAX_CHARS = 200_000
"""Characters that are read, from the end: the time that a hostile text may take is bounded (under a second). No real
solution is as long behind its thoughts."""

_MARK = re.compile(
    r"(?P<title>(?mi:^[ \t>]{0,8}[#*_ \t]{0,12}(?:the )?(?:my )?(?:final |correct )?"
    r"(?:answer|final result)[*_ \t.:：]{0,8}$))"
    r"|(?P<hash>\#{4,12})"
    r"|(?P<box>\\f?boxed(?![A-Za-z]))"
    r"|(?P<tag><answer>)"
    r"|(?P<phrase>(?i:\banswers?\b[*_]{0,3}(?:\s{1,3}(?:is|are|equals)(?![A-Za-z])|\s{0,3}[:=：])[*_ \t:=：]{0,8})"
    r"|答案[*_]{0,3}[ \t]{0,3}(?:[是为选]|(?=[:：]))[*_ \t:：]{0,8}|故选[*_ \t:：]{0,8})"
    r"|(?P<letter>(?m:^[ \t]{0,8}A[ \t]{0,2}:))"
)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_ONLY_LETTER = re.compile(r"[\s*(]{0,20}([A-J])[\s*.):]{0,20}")
_HALF_FORMULA = re.compile(r"\s*(?:\$|\\[\])])(?=[.\s]*\Z)")


@dataclass(frozen=True)
class _Reading:
    """What a mark gives: `body` unwrapped, None for a broken mark; `explicit` marks are no phrases."""

    verdict: Verdict | Literal["broken"]
    body: str | None
    start: int
    end: int
    explicit: bool


def extract_answer(text: str) -> str | None:
    r"""Return the final answer in `text`, cleaned of its wrapping, or None.

    The marks are "#### x", a balanced ``\boxed{x}``, ``<answer>x</answer>``, "answer is x" / "answer: x" (答案是 x,
    故选 x), a line "A: x" and a heading "Final answer"; x may stand on the next line that is not blank. The last one
    with an answer behind it wins: a number or a formula, else (where no box and no "####" holds one) a few words.
    Without any the last number in the text is taken, or the letter A to J that is all of it. See `solution_part` for
    thoughts and stop tokens. The last 200,000 characters behind thoughts are read.

    Args:
        text: A solution, any length, any content.

    Returns:
        The answer (at most 10,000 characters), or None where there is none or the last mark is broken.

    Examples:
        >>> extract_answer("3 * 4 = 12\n#### 12")
        '12'
        >>> extract_answer(r"so \boxed{4}, no: \boxed{\frac{1}{2}}. This answer is right.")
        '\\frac{1}{2}'
        >>> extract_answer(r"\boxed{4} and then \boxed{5") is None
        True
        >>> extract_answer("The answer is **26**. Bye"), extract_answer("we get 7 and then 8 apples")
        ('26', '8')
    """
    if not isinstance(text, str):
        raise TypeError(f"expected a solution as a string, got {type(text).__name__}")
    text = solution_part(text)[-_MAX_CHARS:]
    words: _Reading | None = None
    skipped = []
    for mark in reversed(_marks(text)):
        found = _read(text, mark)
        if found.verdict == "prose":
            skipped.append((found.start, found.end))
        elif found.verdict == "text":
            words = _better(words, found)
        elif words is not None and not found.explicit and is_short(words.body or ""):
            break
        else:
            return found.body
    if words is not None:
        return words.body
    letter = _ONLY_LETTER.fullmatch(text)
    return letter[1] if letter else last_number(text, without=skipped)


def extract_marked(text: str, *, whole: bool) -> str | None:
    r"""Return what stands behind the last mark as it is written: no wrapping but outer white space is taken off.

    Here any text may be an answer, so only what is certainly prose or a heading is passed over.

    Args:
        text: A solution, any length, any content.
        whole: True takes everything up to the end of the text (grids, lists of moves), False one line.

    Returns:
        The answer (at most 10,000 characters); None where there is no mark or the last one is broken.

    Examples:
        >>> extract_marked("so\n#### 1 2\n2 1\n", whole=True), extract_marked("#### It ends.\nBye", whole=False)
        ('1 2\n2 1', 'It ends.')
    """
    text = solution_part(text)[-_MAX_CHARS:]
    for mark in reversed(_marks(text)):
        found = _read(text, mark)
        if found.verdict == "prose" and (
            not mark["hash"] or is_certain_heading(found.body or "", followed=False)
        ):
            continue
        if mark["box"] or mark["tag"]:
            body = found.body
        elif whole:
            body = text[mark.end() :]
        else:
            behind = body_behind(text, mark.end())
            body = behind and (first_sentence(behind.text) if mark["phrase"] else behind.text)
        return None if body is None or len(body) > MAX_ANSWER_CHARS else body.strip() or None
    return None


def _better(words: _Reading | None, found: _Reading) -> _Reading:
    """The later of two answers in words, unless only the earlier one is short."""
    if words is None or (not is_short(words.body or "") and is_short(found.body or "")):
        return found
    return words


def _marks(text: str) -> list[re.Match[str]]:
    """The last marks that stand in no earlier box that closes."""
    closes: dict[int, int] | None = None
    kept: deque[re.Match[str]] = deque(maxlen=_MAX_MARKS)
    inside_until = -1
    for mark in _MARK.finditer(text):
        if mark.start() < inside_until:
            continue
        kept.append(mark)
        if mark["box"]:
            closes = _closing_braces(text) if closes is None else closes
            inside_until = closes.get(_skip_blanks(text, mark.end()), -1)
    return list(kept)


def _closing_braces(text: str) -> dict[int, int]:
    """Where each "{" that is closed is closed, in one pass."""
    opened: list[int] = []
    closes: dict[int, int] = {}
    for found in _BRACES.finditer(text):
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            closes[opened.pop()] = found.start()
    return closes


def _read(text: str, mark: re.Match[str]) -> _Reading:
    explicit = not (mark["phrase"] or mark["letter"] or mark["title"])

    def reading(verdict: Verdict | Literal["broken"], body: str | None, end: int) -> _Reading:
        return _Reading(verdict, body, mark.start(), end, explicit)

    if mark["box"] or mark["tag"]:
        raw = _box_body(text, mark.end()) if mark["box"] else _tag_body(text, mark.end())
        body = None if raw is None else _unboxed(raw)
        return reading("broken" if body is None else "plain", body, mark.end())
    behind = body_behind(text, mark.end())
    before = text[max(0, mark.start() - 60) : mark.start()]
    if behind is None:  # "I hope this answer is" marks nothing, "so the answer is" is cut off
        return reading("prose" if mark["phrase"] and is_anothers(before) else "broken", None, len(text))
    if mark["hash"] or mark["letter"]:
        body = unwrap(without_reason(behind.text))
        if body is None:
            return reading("broken", None, behind.end)
        followed = bool(text[behind.end : behind.end + 1000].strip())
        verdict = judge_heading(body, followed=followed and bool(mark["hash"]))
        return reading(verdict, body, behind.end)
    # "$\text{The answer is } 14$" opens before the mark and closes behind it.
    inside = "{" in before.rpartition("\n")[2].rpartition("\\text")[2] and "\\text" in before
    sentence = first_sentence(
        _HALF_FORMULA.sub("", _without_half_brace(behind.text)) if inside else behind.text
    )
    asked = behind.text[len(sentence) : len(sentence) + 1] in ("?", "？")
    body = unwrap(without_reason(sentence))
    if body is None:
        return reading("broken", None, behind.end)
    return reading(judge_phrase(before, body, asked=asked, below=behind.below), body, behind.end)


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t":
        position += 1
    return position


def _box_body(text: str, position: int) -> str | None:
    """Read the balanced group that opens at `position`; None if it never closes."""
    start = _skip_blanks(text, position)
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


def _without_half_brace(text: str) -> str:
    """Without the first "}" that closes nothing in the text."""
    depth = 0
    for found in _BRACES.finditer(text):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return text[: found.start()] + text[found.end() :]
    return text


def _tag_body(text: str, position: int) -> str | None:
    close = text.find("</answer>", position)
    return text[position:] if close < 0 else text[position:close]


def _unboxed(raw: str) -> str | None:
    r"""What a box says: the last box in it, what stands behind its own mark ("\text{Answer: } 14"), or all of it."""
    if len(raw) > MAX_ANSWER_CHARS:
        return None
    inner = deque((mark for mark in _MARK.finditer(raw) if not mark["letter"]), maxlen=1)
    if inner:
        mark = inner[0]
        behind = _box_body(raw, mark.end()) if mark["box"] else _without_half_brace(raw[mark.end() :])
        body = None if behind is None else unwrap(behind)
        if body is not None:
            return body
    return unwrap(raw)
