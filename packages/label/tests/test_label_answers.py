"""Answers and numbers: what is read, what is refused, and that hostile text costs nothing."""

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eduprm.label import canonical_answer, extract_answer, number_equal, parse_number
from eduprm.label.numeric import format_number


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 * 4 = 12\n12 * 5 = 60\n#### 60", "60"),
        ("A: 26\n", "26"),
        ("#### 5\n#### 7", "7"),
        (r"\boxed{1} or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{4}", "4"),
        (r"so $\boxed 5$.", "5"),
        ("The answer is 26. I am sure", "26"),
        ("The final answer is: $26$.", "26"),
        ("Answer: **east**", "east"),
        (r"#### \boxed{3}", "3"),
        ("first 5, then 8 apples", "8"),
        ("10 - 7 is 3", "3"),
        ("it is -7", "-7"),
        ("that takes 3 1/2 hours", "3 1/2"),
        ("so 1.5e3 in all", "1.5e3"),
        ("nothing", None),
        ("", None),
    ],
)
def test_extracts_the_last_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{4} so \boxed{5",
        "#### 4\n####",
        r"\boxed{4}, finally \boxed",
        r"#### 4 \boxed{{5}",
        "A: 4\nA:",
    ],
)
def test_a_broken_last_marker_credits_nothing_earlier(text: str) -> None:
    assert extract_answer(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$1,000.50", Fraction(2001, 2)),
        (r"10,\!080", Fraction(10080)),
        (r"\$32,\!348", Fraction(32348)),
        ("−5", Fraction(-5)),
        ("50%", Fraction(50)),
        (r"\dfrac{3}{4}", Fraction(3, 4)),
        ("3 1/2 hours", Fraction(7, 2)),
        ("1.5e3", Fraction(1500)),
        ("x = 5", Fraction(5)),
        ("3 * 4 = 12", Fraction(12)),
        (".5", Fraction(1, 2)),
        ("2 million dollars", Fraction(2_000_000)),
        ("1,2", None),
        ("1,-2", None),
        ("5x", None),
        ("x + 1", None),
        ("x^2", None),
        ("5!", None),
        ("12:30", None),
        ("1/0", None),
        ("52_8", None),
        ("1e99999", None),
        ("1" * 1500, None),
        ("1,2345", None),
        ("٣", None),
        (r"2\frac{1}{2}", Fraction(5, 2)),
        (r"-12 \dfrac12", Fraction(-25, 2)),
        (r"x=-\frac{1}{2}", Fraction(-1, 2)),
        ("**5** apples", Fraction(5)),
        ("*5*", Fraction(5)),
        ("about 3 km/h", Fraction(3)),
        ("The total is $5.", Fraction(5)),
        ("5 hundred thousand", Fraction(500_000)),
        ("$1/2 million", Fraction(500_000)),
        ("5 apples a day", Fraction(5)),
        ("4 p.m.", Fraction(4)),
        ("3 x 4 = 12", Fraction(12)),
        ("5,000 + 3,000 = 8,000", Fraction(8000)),
        ("5 %", Fraction(5)),
    ],
)
def test_reads_numbers_exactly_or_not_at_all(text: str, value: Fraction | None) -> None:
    assert parse_number(text) == value


# Each of these was read as some number before.
MISREAD = [r"\frac{1}{2}3", r"2\frac{5}{3}", r"\frac{1}{2}.5", "1*2/3", "2*1/2", "2 *1/2*", "2 5/3"]
MISREAD += [
    "5²",
    "5٣",
    "3π",
    "5₂",
    "5√x",
    "5±1",
    "5千",
    "≈5",
    "5xy",
    "5 xy",
    "5 pi",
    "5k",
    "5 M",
    "5 x",
]
MISREAD += ["x=5 or x=6", "x <= 5", "x ≤ 5", "12 != 13", "x = 5 = 5", "6=5", "2x = 5", "x + 1 = 5", "5, y"]
MISREAD += [
    "5 dozen",
    "5 and a half",
    "5 or six",
    "negative 5",
    "half of 5",
    "at least 5",
    "5 squared",
    "5 of a million",
]


@pytest.mark.parametrize("text", MISREAD)
def test_what_is_not_plainly_one_number_is_not_read(text: str) -> None:
    assert parse_number(text) is None
    assert parse_number(canonical_answer(text)) is None


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6))
def test_format_and_parse_are_inverse(value: Fraction) -> None:
    assert parse_number(format_number(value)) == value
    assert canonical_answer(format_number(value)) == format_number(value)


@given(st.integers(-(10**12), 10**12))
def test_grouped_currency_and_decimal_spellings_are_one_number(value: int) -> None:
    for spelling in (f"{value:,}", f"${value:,}.00", f"{value} apples", f"{value}.0"):
        assert number_equal(spelling, str(value)), spelling
        assert not number_equal(spelling, str(value + 1)), spelling


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or number_equal(answer, answer) == (parse_number(answer) is not None)


HOSTILE = {
    "hashes": "####" * 25_000,
    "boxes": "\\boxed{" * 14_000,
    "braces": "\\boxed" + "{" * 100_000,
    "phrases": "answer is " * 10_000,
    "gap": "answer" + " " * 100_000 + "is",
    "letters": "\nA:" * 33_000,
    "digits": "1" * 100_000,
    "groups": "1," + "234," * 25_000 + "2345",
    "dashes": "-" * 100_000,
    "slashes": "1/" * 50_000,
    "backslashes": "\\" * 100_000,
    "dots": "1." * 50_000,
    "exponents": "1e" * 50_000,
    "spaces": "1" + " " * 100_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_costs_milliseconds(name: str) -> None:
    text = HOSTILE[name]
    start = time.process_time()
    extract_answer(text)
    for piece in (text, text[:2000], text[:1999]):
        number_equal(piece, piece)
    assert time.process_time() - start < 1.0


def _rows(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_gold_answers_of_gsm8k_are_read_in_every_usual_spelling(data_set) -> None:
    golds = {row["answer"].rpartition("#### ")[2] for row in _rows(data_set("gsm8k"))}
    assert any("," in gold for gold in golds)
    for gold in golds:
        value = Fraction(gold.replace(",", "").replace("$", ""))
        for spelling in (
            gold,
            f"${gold}",
            f"{gold} apples",
            f"{gold}.",
            f"**{gold}**",
            f"x = {gold}",
            f"{gold}%",
        ):
            assert parse_number(spelling) == value, spelling


def test_agrees_with_the_gold_flags_of_model_solutions(data_set) -> None:
    rows = _rows(data_set("solutions"))
    pairs = [
        (number_equal(extract_answer(solution), row["answer"]), flag)
        for row in rows
        for solution, flag in zip(row["solutions"], row["correct"], strict=True)
    ]
    disagreements = sum(ours != gold for ours, gold in pairs)
    assert len(pairs) == 4 * len(rows)
    assert {flag for _, flag in pairs} == {True, False}
    assert disagreements == 0
