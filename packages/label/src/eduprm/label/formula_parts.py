r"""Take a list, tuple, interval or set apart as it is written, before any parser reads it.

What it is for: math-verify reads "1,2,2" and "1,2" as the same set and lets "(1,2)" equal "1,2", so the kind of a
container and the number of its elements are compared on the text. Every scan is linear. Source: ours, after
huggingface/Math-Verify#82.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIZE = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])")
_SPACE = re.compile(r"(\\\\)|\\[!,;: ]|\\q?quad(?![A-Za-z])|~")
_SPACED_GROUPS = re.compile(r",\\! *|\{,\}")
_GROUPED = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
_CONJUNCTION = re.compile(
    r",? *(?:\\(?:text|mbox|mathrm)\{ *(?:and|or) *\}|(?<![A-Za-z\\{])(?:and|or)(?![A-Za-z}]))"
)
_MEMBERSHIP = re.compile(r"[A-Za-z] *\\in(?![A-Za-z])")
_TOKEN = re.compile(r"\\[{}]|\\.|[()\[\]{},=]", re.DOTALL)
_OPENING, _CLOSING = ("(", "[", "{", "\\{"), (")", "]", "}", "\\}")
_NO_EQUALITY = re.compile(r"\\(?:[lg]eq?|neq?)(?![A-Za-z])|[<>!]=")


@dataclass(frozen=True)
class Parts:
    r"""What a formula is made of at its top level.

    Attributes:
        kind: "()", "(]", "[)" or "[]" where order counts; "" for a single formula, a bare list and a set in braces.
        elements: The texts between the commas; one for a single formula.
    """

    kind: str
    elements: tuple[str, ...]


def parts_of(text: str) -> Parts:
    r"""Split a formula at its top-level commas, under its outer brackets if they hold any.

    Examples:
        >>> parts_of(r"\left( 3, \frac{\pi}{2} \right)")
        Parts(kind='()', elements=('3', '\\frac{\\pi}{2}'))
        >>> parts_of("1,2 and 2").elements, parts_of(r"\{1\}").elements, parts_of("f(1,2)").elements
        (('1', '2', '2'), ('1',), ('f(1,2)',))
        >>> parts_of(r"1 \pm \sqrt{19}").elements
        ('1 + \\sqrt{19}', '1 - \\sqrt{19}')
    """
    whole, text = text, _SPACE.sub(lambda found: found[1] or " ", _SPACED_GROUPS.sub("", text))
    text = _SIZE.sub("", text).strip()
    text = _MEMBERSHIP.sub("", text, count=1).strip() if _MEMBERSHIP.match(text) else text
    text = _CONJUNCTION.sub(",", text)
    for opening in ("\\{", "(", "["):
        if text.startswith(opening) and (closing := _closes_at_the_end(text)):
            elements = _between_commas(text[len(opening) : -len(closing)])
            if opening == "\\{":
                return Parts("", _both_signs(elements))
            if len(elements) > 1:
                return Parts(opening + closing, elements)
    ungrouped = _GROUPED.sub(lambda found: found[0].replace(",", ""), text)
    elements = _both_signs(_between_commas(ungrouped))
    return Parts("", elements if len(elements) > 1 else (whole,))


def num_equalities(text: str) -> int:
    r"""How many "=" stand outside of all brackets.

    Examples:
        >>> num_equalities("x=6=5"), num_equalities(r"\sum_{i=1}^3 i"), num_equalities(r"x \le 5")
        (2, 0, 0)
    """
    return sum(token == "=" for token, _, depth in _tokens(_NO_EQUALITY.sub(" ", text)) if depth == 0)


def _tokens(text: str) -> list[tuple[str, int, int]]:
    """Brackets, commas and "=" with their position and the depth that they stand at (a bracket's is the outer one)."""
    found, depth = [], 0
    for match in _TOKEN.finditer(text):
        if match[0] in _CLOSING:
            depth -= 1
        found.append((match[0], match.start(), depth))
        if match[0] in _OPENING:
            depth += 1
    return found


def _closes_at_the_end(text: str) -> str:
    """The bracket that closes the first one, if it is the last thing in the text; else nothing."""
    closing = next((t for t in _tokens(text)[1:] if t[2] <= 0 and t[0] in _CLOSING), None)
    return closing[0] if closing and closing[1] + len(closing[0]) == len(text) else ""


def _between_commas(text: str) -> tuple[str, ...]:
    cuts = [position for token, position, depth in _tokens(text) if token == "," and depth == 0]
    bounds = zip([0, *(cut + 1 for cut in cuts)], [*cuts, len(text)], strict=True)
    return tuple(text[start:end].strip() for start, end in bounds)


def _both_signs(elements: tuple[str, ...]) -> tuple[str, ...]:
    written = []
    for element in elements:
        signs = "+-" if element.count("\\pm") == 1 and "\\mp" not in element else ""
        written += [element.replace("\\pm", sign) for sign in signs] or [element]
    return tuple(written)
