r"""Whether what stands behind the mark of an answer is one: "14 apples" is, "correct, since 14-2 = 12" is not.

What it is for: solutions go on behind their answer ("This answer is correct", "#### Check"), so the last mark alone
does not tell. In doubt a text is neither plain nor prose: then it counts where no plain answer stands. Source:
ours.
"""

from __future__ import annotations

import re
from typing import Literal

from eduprm.label.numeric import parse_number

Verdict = Literal["plain", "text", "prose"]
"""A number or formula; words that may be the answer; words about an answer, or a heading."""

_LOOKED_AT = 400
_SHORT_WORDS = 4
_ABOUT = """correct incorrect right wrong reasonable unreasonable valid invalid consistent inconsistent plausible
    sensible verified confirmed checked unique clear unclear obvious evident not in unit units given expressed rounded
    obtained found based because since as that what where when how whether independent dependent too very quite already
    simplified final complete exact accurate sound supported justified logical close within supposed expected required
    here there below above shown written boxed to as well indeed fully also so such only better
    best good fine ok okay ready done for of from by with without using if then now derived computed calculated
    determined provided presented therefore hence it this these we you they a an the"""
_ABOUT_WORDS = frozenset(_ABOUT.split()) - frozenset(
    ["also", "so", "only", "then", "now", "therefore", "hence", "it", "a", "an", "the", "by"]
)
_ADVERBS = (
    r"(?:(?:indeed|also|therefore|thus|hence|clearly|really|now|then|in fact|probably|likely|definitely|simply|"
    r"just),? )*"
)
_ABOUT_CHINESE = re.compile(r"\W*(?:正确|错误|不|对的|合理|唯一|符合|否|什么|多少|由|已)")
_FIRST_WORD = re.compile(rf"\W*{_ADVERBS}([A-Za-z]+)", re.IGNORECASE)
_CLAUSE = re.compile(
    r"(?:[,;:]? +|[,;:] *|(?<=[$)\]}*]) *)\(?(?:because|since|which|where|so"
    r"|as (?:expected|required|desired|claimed|stated|shown|before)"
    r"|rounded (?:to|up|down|off)|to the nearest|(?:rounded )?to [a-z0-9]{1,8} (?:decimal|significant)"
    r"|in (?:simplest|lowest|reduced|simplified) (?:form|terms))\b",
    re.IGNORECASE,
)
_HEADING = r"""step|part|case|check\w*|double[- ]check\w*|sanity|verif\w+|note|notes|explanation|explain\w*|proof|
    reasoning|remark|discussion|method|approach|analysis|example|problem|question|summary|interpretation|justification|solution|solve|solving|
    conclusion|setup|set|given|hint|working|strategy|understand\w*|identify\w*|define|let|find|comput\w+|calculat\w+|
    simplif\w+|substitut\w+|alternative|final steps?|review|validation|检查|验证|验算|检验|步骤|解析|总结|结论"""
_HEADINGS = re.compile(r"\W*(?:" + re.sub(r"\n *", "", _HEADING) + ")(?![A-Za-z])", re.IGNORECASE)
_NUMBERED_HEADING = re.compile(r"\W*[0-9]{1,2}(?:\.[0-9]{1,2})*[.):]\**\s+\W*[^\W\d_]{2,}")
_COMMAND = re.compile(
    r"\\(?:text(?:rm|bf|it|normal)?|mathrm|mbox|operatorname|begin|end)\{[^{}]*\}|\\[A-Za-z]+|\\."
)
_FORMULA_WORD = re.compile(
    r"(?<![A-Za-z])(?:and|or|pi|sin|cos|tan|cot|sec|csc|ln|log|exp|sqrt|inf|max|min|mod|frac|cm|mm|km|kg|ft|in|m|s|h)(?![A-Za-z])"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_SIGN = re.compile(r"[0-9]|\\[A-Za-z]|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|\\\{")
_THIS = re.compile(
    r"\b(?:this|that|these|those|an|such|first|initial)(?: (?:final|correct|same|possible))?\W{0,3}\Z"
    r"|(?:这个|该|此)\Z",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"\b(?:wrong|incorrect|another|other|no|which|what|whose|each|every|any|previous|earlier|old|your|their|his|her)\W{0,3}\Z"
    r"|(?:错误|其他|另一个|你)的?\Z",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|suppose|supposing|assum\w+|whether|unless|imagine|think|thought|means?|instead)"
    r"(?: that)?(?: (?:the|our|my|your))?(?: (?:final|correct))?\W{0,3}\Z|(?:如果|假设|假如|若)\Z",
    re.IGNORECASE,
)


def is_plain(body: str) -> bool:
    r"""Whether a text is nothing but a number (units and all) or a formula.

    Examples:
        >>> is_plain("26 apples"), is_plain(r"\frac{\pi}{2}"), is_plain("x=1 or x=2"), is_plain("units are metres")
        (True, True, True, False)
    """
    body = body[:_LOOKED_AT]
    if parse_number(body) is not None:
        return True
    rest = _FORMULA_WORD.sub(" ", _COMMAND.sub(" ", body.replace("$", " ")))
    return _WORD.search(rest) is None and _SIGN.search(body) is not None


def without_reason(body: str) -> str:
    r"""The answer without the clause behind it, where what is left is plain.

    Examples:
        >>> without_reason("14, since 12+2 = 14"), without_reason("what it is since noon")
        ('14', 'what it is since noon')
    """
    cut = _CLAUSE.search(body[:_LOOKED_AT])
    if cut and body[: cut.start()].strip() and is_plain(body[: cut.start()]):
        return body[: cut.start()]
    return body


def judge_phrase(before: str, body: str, *, asked: bool, below: bool) -> Verdict:
    """What stands behind "answer is" or "answer:".

    Args:
        before: The text before the word "answer", its last 60 characters are enough.
        body: The sentence behind, unwrapped and without its reason.
        asked: Whether the sentence ends in a question mark.
        below: Whether the body stands on a later line than the phrase.

    Examples:
        >>> examples = [("The ", "14"), ("This ", "correct"), ("If the ", "13"), ("The ", "east")]
        >>> [judge_phrase(before, body, asked=False, below=False) for before, body in examples]
        ['plain', 'prose', 'prose', 'text']
    """
    if asked or _SUPPOSED.search(before) or _OTHERS.search(before):
        return "prose"
    if _ABOUT_CHINESE.match(body):
        return "prose"
    first = _FIRST_WORD.match(body)
    if first and first[1].lower() in _ABOUT_WORDS and len(first[1]) > 1:
        return "prose"
    bare = parse_number(body, units=False) is not None
    if _THIS.search(before) and not bare:
        return "prose"
    if is_plain(body):
        return "plain"
    return "prose" if below and not is_short(body) else "text"


def is_anothers(before: str) -> bool:
    """Whether "answer" is not the solution's own: "this answer", "a wrong answer"."""
    return bool(_THIS.search(before) or _OTHERS.search(before))


def judge_heading(body: str, *, followed: bool) -> Verdict:
    """What stands behind "####": an answer, as in GSM8K, or a heading of Markdown.

    Args:
        body: The line, unwrapped.
        followed: Whether more text follows on later lines.

    Examples:
        >>> [judge_heading(body, followed=True) for body in ("14 apples", "Check", "Step 4: add", "2. Add them")]
        ['plain', 'prose', 'prose', 'prose']
    """
    if is_certain_heading(body, followed=followed):
        return "prose"
    if is_plain(body):
        return "plain"
    return "prose" if followed and not is_short(body) else "text"


def is_certain_heading(body: str, *, followed: bool) -> bool:
    """Whether a line is a heading by its first word or its number."""
    return bool(_HEADINGS.match(body) or (followed and _NUMBERED_HEADING.match(body)))


def is_short(body: str) -> bool:
    """Whether a text is short enough to be an answer in words, and does not lead on to another."""
    return len(body.split()) <= _SHORT_WORDS and not body.endswith(":")
