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
