r"""The final answer inside a gold answer as data sets write it: after ``####``, in ``\boxed{}``, or on its own.

It reads trusted gold columns only. What a model wrote is read by eduprm.label, which has stricter rules.
"""

from __future__ import annotations

import re

MAX_BARE_CHARS = 200
"""A gold answer without a mark is taken whole if it is one line of at most this many characters."""


def gold_answer(text: str) -> str | None:
    r"""The final answer, or None where a worked answer holds none.

    Examples:
        >>> gold_answer("48 / 2 = 24, 48 + 24 = 72\n#### 72")
        '72'
        >>> gold_answer("So it is $\\boxed{\\frac{1}{2}}$.")
        '\\frac{1}{2}'
        >>> gold_answer(" 3/4 ")
        '3/4'
        >>> gold_answer("First add.\nThen stop.") is None
        True
    """
    hashes = re.findall(r"^[ \t]*####[ \t]*(\S.*?)[ \t\r]*$", text, flags=re.MULTILINE)
    if hashes:
        return str(hashes[-1])
    if "\\boxed" in text or "\\fbox" in text:
        return _last_boxed(text)
    bare = text.strip()
    if bare and "\n" not in bare and len(bare) <= MAX_BARE_CHARS and "####" not in bare:
        return bare
    return None


def has_working(text: str, answer: str) -> bool:
    r"""Whether a gold answer holds more than the final one.

    Examples:
        >>> has_working("6 * 12 = 72\n#### 72", "72"), has_working("#### 72", "72")
        (True, False)
    """
    before = re.sub(r"^[ \t]*####.*$", "", text, flags=re.MULTILINE).strip().strip("$. ")
    return before not in ("", answer, f"\\boxed{{{answer}}}")


def without_annotations(worked: str) -> str:
    r"""A worked answer without GSM8K's calculator annotations and without blanks at the ends of lines.

    Examples:
        >>> without_annotations("6 * 12 = <<6*12=72>>72 rolls \n#### 72\n")
        '6 * 12 = 72 rolls\n#### 72'
    """
    lines = re.sub(r"<<[^<>\n]*>>", "", worked).split("\n")
    return "\n".join(line.rstrip() for line in lines).rstrip()


def _last_boxed(text: str) -> str | None:
    r"""What stands in the last ``\boxed{}``, braces balanced; None when it is not closed."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    start = text.index("{", start) + 1
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return text[start:position].strip() or None
    return None
