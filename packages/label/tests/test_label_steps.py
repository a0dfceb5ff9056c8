"""The step checker: what is an equation, which hold, and that hostile lines cost nothing."""

import json
import re
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eduprm.label import check_steps
from eduprm.label.arithmetic import ArithmeticSyntaxError, parse_arithmetic


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("3 * 4 = 12", [True]),
        ("3 * 4 = 13", [False]),
        ("3 × 4 = 12.", [True]),
        ("12 ÷ 4 − 1 = 2", [True]),
        ("2*3*4 = 6*4 = 24", [True, True]),
        ("2*3*4 = 6*5 = 30", [False, True]),
        ("3 x 4 = 12", [True]),
        ("1. 3 * 4 = 12", [True]),
        ("- 3 * 4 = 12", [True]),
        ("**3 * 4 = 12**", [True]),
        ("2**3 = 8", [True]),
        ("2^3^2 = 512", [True]),
        ("-2^2 = -4", [True]),
        ("2(3 + 4) = 14", [True]),
        (r"$3 \times 4 = 12$", [True]),
        ("$5 + $3 = $8", [True]),
        ("1,200 + 1 = 1,201", [True]),
        ("48/2 = <<48/2=24>>24 clips", [True, True]),
        ("48/2 = <<48/2=25>>24 clips", [False, True]),
        ("20% * 50 = 10", [True]),
        ("1/4 * 100 = 25%", [True]),
        # rounding: a decimal may round or be cut off; a whole number only behind "≈"
        ("1 / 3 = 0.33", [True]),
        ("2 / 3 = 0.67", [True]),
        ("2 / 3 = 0.66", [True]),
        ("2 / 3 = 0.65", [False]),
        ("1 / 3 = 0.4", [False]),
        ("7 / 2 = 3", [False]),
        ("10 / 3 ≈ 3", [True]),
        ("0.25 * 2 = 0.6", [False]),
        # nothing but arithmetic has to parse
        ("3 * = 12", [False]),
        ("3 * 4 =", [False]),
        ("3 * 4 = 12 * = 60", [False, False]),
        ("1 / 0 = 5", [False]),
        ("(3 * 4 = 12", [False]),
        ("9^9^9^9 = 1", [False]),
        ("5 = 6", [False]),
        # prose is judged only where it can be
        ("Tom has 3 * 4 = 12 apples", [True]),
        ("Tom has 3 * 4 = 13 apples", [False]),
        ("2x = 10", []),
        ("x = 5", []),
        ("5 dollars + 3 = 8", []),
        ("12 x + 3 = 8", []),
        ("4 * 3 = 12x", []),
        ("Day 1 = 12", []),
        ("3 + 4", []),
        ("#### 60", []),
    ],
)
def test_equations_of_a_line(line: str, holds: list[bool]) -> None:
    checks = check_steps(line)
    assert [equation.holds for equation in checks[0].equations] == holds
    assert checks[0].has_equation == bool(holds)
    assert checks[0].valid == all(holds)


def test_spans_point_into_the_text() -> None:
    text = "first\n\nso 3 × 4 = 12, then\n5 + 5 = 11"
    checks = check_steps(text)
    assert [text[check.start : check.stop] for check in checks] == [
        "first",
        "so 3 × 4 = 12, then",
        "5 + 5 = 11",
    ]
    spans = [text[e.start : e.stop] for check in checks for e in check.equations]
    assert spans == ["3 × 4 = 12", "5 + 5 = 11"]


@st.composite
def expressions(draw: st.DrawFn) -> str:
    parts = [str(draw(st.integers(0, 99)))]
    for _ in range(draw(st.integers(1, 5))):
        parts += [draw(st.sampled_from("+-*")), str(draw(st.integers(0, 99)))]
    if draw(st.booleans()):
        parts = ["(", *parts, ")", "*", str(draw(st.integers(0, 9)))]
    return " ".join(parts)


@given(expressions(), st.integers(-3, 3))
def test_agrees_with_python_on_expressions_we_wrote(expression: str, off: int) -> None:
    value = eval(expression)  # our own text, not a model's
    assert parse_arithmetic(expression).value == value
    assert check_steps(f"{expression} = {value + off}")[0].valid == (off == 0)


@given(st.fractions(-1000, 1000, max_denominator=999), st.integers(1, 5))
def test_rounded_and_truncated_decimals_hold_and_neighbours_do_not(value: Fraction, digits: int) -> None:
    left = f"{value.numerator}/{value.denominator}"
    unit = Fraction(1, 10**digits)
    shown = Fraction(round(value / unit)) * unit
    for offset, expected in ((0, True), (2, False), (-2, False)):
        number = shown + offset * unit
        whole, decimals = divmod(int(abs(number) / unit), 10**digits)
        text = f"{'-' if number < 0 else ''}{whole}.{decimals:0{digits}d}"
        assert check_steps(f"{left} = {text}")[0].valid == expected, (left, text)


@pytest.mark.parametrize(
    "text",
    [
        "9^9^9^9",
        "9^999",
        "(" * 50 + "1" + ")" * 50,
        "1+" * 300 + "1",
        "1" * 100,
        "",
        "1 2",
        "*",
        "(1",
        "1)",
        "2^0.5",
    ],
)
def test_bounds_and_nonsense_are_syntax_errors(text: str) -> None:
    with pytest.raises(ArithmeticSyntaxError):
        parse_arithmetic(text)


HOSTILE = [
    "1=" * 50_000,
    "1+" * 50_000 + "=1",
    "a1*1=1 " * 14_000,
    "<<" * 50_000,
    "<<1=1>>" * 14_000,
    "(" * 100_000 + "=",
]
HOSTILE += [
    "=" * 100_000,
    "1," * 50_000 + "=",
    ".1" * 50_000 + "=1",
    "1 " * 50_000 + "=",
    " " * 100_000 + "=",
    "9^" * 50_000 + "=1",
]
HOSTILE += [
    "-" * 100_000 + "1=1",
    "*" * 100_000 + "=",
    "\\times" * 16_000 + "=1",
    "1%" * 50_000 + "=1",
    "1x" * 50_000 + "=1",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_lines_cost_little(number: int) -> None:
    start = time.process_time()
    check_steps(HOSTILE[number])
    assert time.process_time() - start < 3.0


@given(st.text(alphabet="0123456789+-*/^()%=≈., x\n<>$\\a", max_size=80))
def test_any_line_is_read_without_an_error(text: str) -> None:
    for check in check_steps(text):
        assert 0 <= check.start < check.stop <= len(text)
        assert all(check.start <= e.start <= e.stop <= check.stop for e in check.equations)


def _worked(path, count: int) -> list[str]:
    return [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()[:count]]


def test_gsm8k_annotations_are_verified(data_set) -> None:
    total = held = in_prose = prose_held = 0
    texts = _worked(data_set("gsm8k"), 2000)
    for text in texts:
        inside = [match.span() for match in re.finditer(r"<<[^<>\n]*>>", text)]
        for equation in (equation for check in check_steps(text) for equation in check.equations):
            annotated = any(start <= equation.start and equation.stop <= stop for start, stop in inside)
            total, held = total + annotated, held + (annotated and equation.holds)
            in_prose, prose_held = in_prose + (not annotated), prose_held + (not annotated and equation.holds)
    assert total > 2.5 * len(texts)
    assert held >= 0.999 * total
    assert in_prose > 2 * len(texts)
    assert prose_held >= 0.99 * in_prose


def test_wrong_annotations_are_caught(data_set) -> None:
    text = "\n".join(_worked(data_set("gsm8k"), 300))
    broken = re.sub(r"<<([^<>\n=]*)=([0-9]+)>>", lambda m: f"<<{m[1]}={int(m[2]) + 1}>>", text)
    changed = sum(a != b for a, b in zip(text, broken, strict=False))
    equations = [e for check in check_steps(broken) for e in check.equations]
    assert changed
    assert sum(not e.holds for e in equations) >= len(re.findall(r"<<[^<>\n=]*=[0-9]+>>", text)) * 0.99
