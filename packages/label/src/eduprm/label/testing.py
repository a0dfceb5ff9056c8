"""Answers made to break what reads them: for tests and campaigns of everything that takes model output."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

__all__ = ["HOSTILE_KINDS", "hostile_texts"]

_Make = Callable[[random.Random], str]

_SCRIPTS = (
    "<script>window.injected = 1</script>",
    "</script><img src=x onerror='window.injected = 1'>",
    "<svg onload=window.injected=1><!--",
    "\"><iframe srcdoc='<script>parent.injected=1</script>'></iframe>",
    "]]></style><base href='http://127.0.0.1:1/'>&lt;&#60;",
    "<a href='javascript:window.injected=1'>12</a>",
)
_CODE = (
    "__import__('os').system('exit 3')",
    "().__class__.__base__.__subclasses__()",
    "[c for c in (1).__class__.__mro__]",
    "eval('9**9**9')",
    'exec("raise SystemExit")',
    "open('/dev/zero').read()",
    "lambda: (yield)",
    "exit()",
    "Symbol('x').subs(x, open(0))",
)
_FORMATS = ("%s%n%x", "{0.__class__}", "{answer!r:>999999999}", "%(a)1000000000d", "${IFS}", "{}" * 50)
_DIGITS = "٣٤٥६७८๑๒๓１２３𝟏𝟐𝟑²³½Ⅷ㊿"


def _tower(rng: random.Random) -> str:
    power = rng.choice(("^", "**"))
    return power.join(str(rng.randint(2, 99)) for _ in range(rng.randint(3, 40)))


def _latex_tower(rng: random.Random) -> str:
    depth = rng.randint(3, 60)
    return r"9^{" * depth + "9" + "}" * depth


def _brackets(rng: random.Random) -> str:
    size = rng.choice((100, 300, 1000, 5000, 100_000))
    return rng.choice(("(", "[", "{", "()", r"\left(")) * size + rng.choice(("", "1" + ")" * size))


def _digits(rng: random.Random) -> str:
    size = rng.choice((400, 5000, 100_000, 1_000_000))
    return rng.choice(("9", "1", "0.0", "1,000,")) * size


def _controls(rng: random.Random) -> str:
    return "".join(chr(rng.choice((*range(32), 127, 0x85, 0x2028, 0xFEFF))) for _ in range(40)) + "12"


def _right_to_left(rng: random.Random) -> str:
    return "".join(rng.choice("\u202e\u202d\u2066\u2069\u200f12שלוםعدد") for _ in range(60))


def _surrogates(rng: random.Random) -> str:
    return "".join(chr(rng.randint(0xD800, 0xDFFF)) + str(rng.randint(0, 9)) for _ in range(20))


def _nested_latex(rng: random.Random) -> str:
    depth = rng.choice((5, 20, 40, 200, 2000))
    name = rng.choice((r"\frac{1}{", r"\sqrt{", r"\text{", r"\boxed{", r"\left\{"))
    return name * depth + "2" + "}" * rng.choice((depth, depth - 1, 0))


def _exponent(rng: random.Random) -> str:
    size = rng.choice((10, 400, 10**6, 10**9, 10**30))
    return rng.choice(("1e{}", "2^{{{}}}", "10^{}", "1e-{}", "{}!", r"\frac{{1}}{{10^{{{}}}}}")).format(size)


def _unicode_digits(rng: random.Random) -> str:
    return "".join(rng.choice(_DIGITS) for _ in range(rng.randint(1, 30)))


def _formula(rng: random.Random) -> str:
    terms = rng.choice((5, 20, 60))
    return "(" + "+".join(rng.choice("xyzab") + f"^{rng.randint(2, 99)}" for _ in range(terms)) + ")^{99}"


def _symbols(rng: random.Random) -> str:
    signs = "\\{}()[]^_$&%#~<>'\"|,.;:!?+-*/= \n\t0123456789ix"
    return "".join(rng.choice(signs) for _ in range(rng.choice((5, 40, 300, 3000))))


_KINDS: dict[str, _Make] = {
    "tower of powers": _tower,
    "tower in LaTeX": _latex_tower,
    "brackets": _brackets,
    "digits": _digits,
    "control characters": _controls,
    "right to left": _right_to_left,
    "HTML and script": lambda rng: rng.choice(_SCRIPTS) + str(rng.randint(0, 99)),
    "code": lambda rng: rng.choice(_CODE),
    "format strings": lambda rng: rng.choice(_FORMATS) + str(rng.randint(0, 99)),
    "lone surrogates": _surrogates,
    "NUL": lambda rng: f"1{chr(0) * rng.randint(1, 9)}2",
    "nested LaTeX": _nested_latex,
    "exponents": _exponent,
    "unicode digits": _unicode_digits,
    "formulas": _formula,
    "symbols": _symbols,
}
HOSTILE_KINDS = tuple(_KINDS)


def hostile_texts(count: int, *, seed: int = 0, most_chars: int | None = None) -> Iterator[tuple[str, str]]:
    """Texts of solutions whose answer is hostile, the kinds in turn.

    Args:
        count: how many.
        seed: equal seeds give equal texts.
        most_chars: answers are cut there; None: the longest have a few million characters.

    Yields:
        (kind, text) pairs, the kind one of `HOSTILE_KINDS`. The answer stands boxed, behind "####", or bare.

    Examples:
        >>> [kind for kind, _ in hostile_texts(2)]
        ['tower of powers', 'tower in LaTeX']
        >>> list(hostile_texts(16))[10]
        ('NUL', '#### 1\\x00\\x00\\x002')
    """
    rng = random.Random(seed)
    for number in range(count):
        kind = HOSTILE_KINDS[number % len(HOSTILE_KINDS)]
        answer = _KINDS[kind](rng)[:most_chars]
        form = rng.choice(("{}", "#### {}", "\\boxed{{{}}}", "so it is ${}$", "The answer is {}."))
        yield kind, form.format(answer)
