r"""Characters that are written for ASCII digits, signs and LaTeX, turned into those.

What it is for: "１２", "1½", "5²", "π／2" and "12 345" with a thin space are read as `12`, `1\frac{1}{2}`,
`5^{2}`, `\pi /2` and "12 345" by numbers (`numeric`) and formulas (`_math_check`) alike. It never glues
characters that stand apart in value: "5²" is no 52 and "1½" no 11/2. Digits of other scripts (Arabic,
Devanagari) are left as they are. Every scan is linear. Source: the Unicode code charts; the choice is ours.
"""

from __future__ import annotations

import re

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SPACES = dict.fromkeys(
    [0x3000, 0xA0, 0x202F, 0x205F, *range(0x2000, 0x200B)],
    " ",
)
_NOTHING = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD], "")
_SIGNS = {
    "−": "-",
    "–": "-",
    "‐": "-",
    "‑": "-",
    "﹣": "-",
    "﹢": "+",
    "。": ".",
    "､": ",",
    "、": ",",
    "⁄": "/",
    "∕": "/",
    "÷": r"\div ",
    "×": r"\times ",
    "✕": r"\times ",
    "⋅": r"\cdot ",
    "·": r"\cdot ",
    "∙": r"\cdot ",
    "∅": r"\emptyset ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "𝜋": r"\pi ",
    "ℯ": "e",
    "ⅇ": "e",
    "ⅈ": "i",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "°": r"^{\circ}",
    "º": r"^{\circ}",
}


def _by_code(table: dict[str, str]) -> dict[int, str]:
    return {ord(char): written for char, written in table.items()}


_VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
_FRACTIONS = {char: r"\frac{{{}}}{{{}}}".format(*value.split("/")) for char, value in _VULGAR.items()}
_TABLE: dict[int, int | str] = {
    **_FULL_WIDTH,
    **_SPACES,
    **_NOTHING,
    **_by_code(_SIGNS),
    **_by_code(_FRACTIONS),
}
_SUPERSCRIPTS, _SUBSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "₀₁₂₃₄₅₆₇₈₉"
_RAISED = str.maketrans(_SUPERSCRIPTS, "0123456789+-")
_LOWERED = str.maketrans(_SUBSCRIPTS, "0123456789")
_SLANTED = re.compile(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[⁄/∕]([₀₁₂₃₄₅₆₇₈₉]+)")
_SUPERSCRIPT = re.compile(rf"[{_SUPERSCRIPTS}]+")
_SUBSCRIPT = re.compile(rf"[{_SUBSCRIPTS}]+")
_ROOT = re.compile(r"√ ?(?:([0-9]+|[A-Za-z])|\(([^()]*)\)|(?=\{))")


def fold(text: str) -> str:
    r"""Write full-width forms, vulgar fractions, superscripts and signs as ASCII and LaTeX.

    Examples:
        >>> fold("１２。"), fold("1½"), fold("5²"), fold("2×10⁻³"), fold("√2")
        ('12.', '1\\frac{1}{2}', '5^{2}', '2\\times 10^{-3}', '\\sqrt{2}')
    """
    if text.isascii():
        return text
    text = _SLANTED.sub(_slanted, text)
    text = _SUPERSCRIPT.sub(lambda found: f"^{{{found[0].translate(_RAISED)}}}", text)
    text = _SUBSCRIPT.sub(lambda found: f"_{{{found[0].translate(_LOWERED)}}}", text)
    text = _ROOT.sub(_root, text)
    return text.translate(_TABLE)


def _slanted(found: re.Match[str]) -> str:
    return rf"\frac{{{found[1].translate(_RAISED)}}}{{{found[2].translate(_LOWERED)}}}"


def _root(found: re.Match[str]) -> str:
    inside = found[1] or found[2]
    return r"\sqrt" if inside is None else rf"\sqrt{{{inside}}}"
