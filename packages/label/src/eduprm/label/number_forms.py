r"""Other ways to write one number, rewritten to plain ones: 1.5 \times 10^3, 0.\overline{3}, 12\,345, 6 cm^2.

What it is for: what numbers (`numeric`) and formulas (`_math_check`) read alike. Nothing is evaluated beyond one
fraction of bounded digits; every pattern is linear.
"""

from __future__ import annotations

import re
from math import gcd

MAX_REPEATING = 100
"""Digits of a repeating decimal beyond which it is left as it is written."""

_OVER = "\u0304\u0305\u0307"  # combining macron, overline, dot above
_DIGITS = r"[0-9]{1,100}"
_DOTS = rf"\\dot *\{{? *([0-9]) *\}}?(?:({_DIGITS})?\\dot *\{{? *([0-9]) *\}}?)?"
_REPEATING = re.compile(
    rf"(?<![0-9.,A-Za-z])(?<![0-9] )([0-9]{{0,100}})\.([0-9]{{0,100}})"
    rf"(?:\\(?:overline|bar|overbar|widebar) *(?:\{{ *({_DIGITS}) *\}}|([0-9]))|\(({_DIGITS})\)|{_DOTS}"
    rf"|((?:[0-9][{_OVER}]){{1,100}}))(?![0-9(.]|\\dot)"
)
_POWER = (
    r"(?:\{ *10 *\}|10) *(?:\^|\*\*) *"
    r"(?:\{ *([+-]? *[0-9]{1,9}) *\}|\(([+-]?[0-9]{1,9})\)|([+-]?[0-9]{1,9}))(?![0-9.!^])"
)
_SCIENTIFIC = re.compile(
    rf"(?<![0-9.,])((?:[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
    rf" *(?:\\times(?![A-Za-z])|\\cdot(?![A-Za-z])|[xX*×·⋅]) *{_POWER}"
)
_BARE_POWER = re.compile(
    rf"(?<![0-9A-Za-z.,^_*/)}}\]])(?<![*/^x×·] )(?<!\\times )(?<!\\cdot ){_POWER}(?! *[*/x×·\\])"
)
_THIN = r"(?:\\[,;: ]|\{,\}|,\\!|[ \u00a0\u2009\u202f])"
_THOUSANDS = re.compile(
    rf"(?<![0-9A-Za-z.,/])(?<![.,] )([1-9][0-9]{{0,2}})((?:{_THIN}[0-9]{{3}})+)(?![0-9]| ?/|,[0-9])"
)
_BRACED_COMMA = re.compile(r"(?<=[0-9])\{,\}(?=[0-9])")
_GAP = re.compile(_THIN)
_FONT = re.compile(
    r"\\(?:(?:boldsymbol|bm|pmb|underline|texttt|mathtt|textcolor *\{[^{}]{0,40}\}) *(?=\{)"
    r"|color *\{[^{}]{0,40}\}|(?:(?:tiny|small|large|Large|LARGE|huge|Huge|bf|rm|it|tt|sf|textstyle)(?![A-Za-z])))"
)
_LAST_LINE_BREAK = re.compile(r"\\\\\s*\Z")
_SLANTED_FRAC = re.compile(r"\\(?:nice|s|x)frac(?=[ {0-9])")
_ORDINAL = re.compile(r"(?<=[0-9]) *\^ *\{? *\\(?:text(?:rm)?|mathrm) *\{ *(?:st|nd|rd|th) *\} *\}? *\Z")
_ANGLE = re.compile(
    r"\A\s*(?:m *)?\\(?:measured)?angle *(?:[A-Z]{1,3}[0-9]?|\{ *[A-Z]{1,3} *\}|\\[a-z]{2,8}) *=(?=[^=]*\Z)"
)


def without_typography(text: str) -> str:
    r"""Without fonts, sizes, colours, a last line break, an ordinal's ending and the name of one angle.

    Examples:
        >>> without_typography(r"\boldsymbol{5}"), without_typography(r"\color{red} 5\\"), without_typography("x^2")
        ('{5}', ' 5', 'x^2')
        >>> without_typography(r"m\angle ABC = 30^\circ"), without_typography(r"\nicefrac{1}{2}")
        (' 30^\\circ', '\\frac{1}{2}')
    """
    if "\\" not in text:
        return text
    text = _LAST_LINE_BREAK.sub("", _ORDINAL.sub("", _FONT.sub("", text)))
    return _ANGLE.sub("", _SLANTED_FRAC.sub(r"\\frac", text))


def repeating_as_fractions(text: str) -> str:
    r"""Repeating decimals as fractions: an overline, a bar, dots, brackets or combining marks over the digits.

    Examples:
        >>> repeating_as_fractions(r"0.\overline{3}"), repeating_as_fractions("1.2(3)"), repeating_as_fractions("f(3)")
        ('\\frac{1}{3}', '\\frac{37}{30}', 'f(3)')
    """
    return _REPEATING.sub(_fraction, text)


def _fraction(found: re.Match[str]) -> str:
    whole, start, braced, bare, round_, dot, between, last, marked = found.groups()
    period = braced or bare or round_ or (f"{dot}{between or ''}{last or ''}" if dot else None)
    if period is None:
        period = re.sub(f"[{_OVER}]", "", marked)
    if not whole and (round_ or not start + period):
        return found[0]
    if len(whole + start + period) > MAX_REPEATING:
        return found[0]
    bottom = 10 ** len(start) * (10 ** len(period) - 1)
    top = int(whole + start + period or "0") - int(whole + start or "0")
    shared = gcd(top, bottom)
    return rf"\frac{{{top // shared}}}{{{bottom // shared}}}"


def scientific_as_exponents(text: str) -> str:
    r"""Powers of ten beside a number, or alone, as exponents that a float would have.

    Examples:
        >>> [scientific_as_exponents(text) for text in (r"1.5 \times 10^{3}", "10^{-7}", "5^2")]
        ['1.5e3', '1e-7', '5^2']
    """
    text = _SCIENTIFIC.sub(lambda found: f"{found[1]}e{_exponent(found, 2)}", text)
    return _BARE_POWER.sub(lambda found: f"1e{_exponent(found, 1)}", text)


def _exponent(found: re.Match[str], first: int) -> str:
    return (found[first] or found[first + 1] or found[first + 2]).replace(" ", "")


def join_thousands(text: str) -> str:
    r"""Groups of three digits behind a space, "\,", "{,}" or ",\!" joined; commas with a space stay a list.

    Examples:
        >>> join_thousands(r"12\,345"), join_thousands("12 345.6"), join_thousands("1, 234"), join_thousands("12 34")
        ('12345', '12345.6', '1, 234', '12 34')
    """
    return _BRACED_COMMA.sub(",", _THOUSANDS.sub(lambda found: found[1] + _GAP.sub("", found[2]), text))
