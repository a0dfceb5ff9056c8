"""Spellings of one value: what is equal under both graders, what only looks so, and what votes together."""

from fractions import Fraction

import pytest

from eduprm.label import FunctionGrader, MathGrader, NumberGrader, number_equal, parse_number, spell_alike
from eduprm.label.same_answers import MAX_DISTINCT, group_spellings

EQUAL_NUMBERS = [
    ("6", r"6~\text{cm}"),
    ("6", r"6~\mathrm{cm}^2"),
    ("6", r"6 \mathrm{~cm}^{2}"),
    ("6", r"6\,\mathrm{cm^2}"),
    ("6", "6 cm^2"),
    ("6", "6 cm²"),
    ("6", "6 cm2"),
    ("6", "6 square meters"),
    ("6", r"6\ \text{m/s}^2"),
    ("6", r"6{\rm cm}"),
    ("6", r"6 \frac{\text{m}}{\text{s}}"),
    ("5", r"5 kg \cdot m/s^2"),
    ("1.5e3", r"1.5 \times 10^3"),
    ("1500", r"1.5 \times 10^{3}"),
    ("1500", "1.5×10³"),
    ("1500", "1.5·10^3"),
    ("1500", "1.5 x 10^3"),
    ("1500", "1.5*10**3"),
    ("1500", r"1.5 \times 10^3 = 1500"),
    ("6.02e23", r"6.02 \times 10^{23}"),
    ("602000000000000000000000", r"6.02 \times 10^{23}"),
    ("1e-7", "10^{-7}"),
    ("-0.0025", r"-2.5\times10^{-3}"),
    ("300000000", r"3 \times 10^8~\text{m/s}"),
    ("12345", "12 345"),
    ("12345", r"12\,345"),
    ("12345", "12{,}345"),
    ("12345", r"12\ 345"),
    ("12345.5", "12\u202f345.5"),
    ("12345", "12\u00a0345"),
    ("1234567", r"1\,234\,567"),
    ("123", "１２３"),
    ("-12.5", "－１２．５"),
    ("12", "12。"),
    ("1/2", "½"),
    ("3/2", "1½"),
    ("1.5", "1 ½"),
    ("-1.5", "−1½"),
    ("11/2", "5½"),
    ("0.75", "3⁄4"),
    ("1/2", "¹⁄₂"),
    ("1/3", r"0.\overline{3}"),
    ("1/3", r"0.\bar{3}"),
    ("1/3", r"0.\dot{3}"),
    ("1/3", "0.(3)"),
    ("1/3", "0.3\u0305"),
    ("1/6", r"0.1\overline{6}"),
    ("1/7", r"0.\dot{1}4285\dot{7}"),
    ("-5/3", "-1.(6)"),
    ("1", r"0.\overline{9}"),
    ("5", r"\boldsymbol{5}"),
    ("1/2", r"\textcolor{red}{\frac{1}{2}}"),
    ("5", r"\color{blue} 5\\"),
    ("5", r"\Large 5"),
    ("1/2", r"\nicefrac{1}{2}"),
    ("5", r"5^{\text{th}}"),
    ("30", r"m\angle ABC = 30^\circ"),
    ("12", "12个苹果"),
    ("5", r"5\text{厘米}"),
]
UNEQUAL_NUMBERS = [
    ("52", "5^2"),
    ("52", "5²"),
    ("1234", "1, 234"),
    ("1234", "12 34"),
    ("123", "1 23"),
    ("11/2", "1½"),
    ("56", "5~6"),
    ("12", r"1\,2"),
    ("1500", r"1.5 \times 10^2"),
    ("103", "10^3"),
    ("30", "3 10"),
    ("1.5e3", "1.5"),
    ("1/3", "0.333"),
    ("33/100", r"0.\overline{3}"),
    ("1/6", r"0.\overline{16}"),
    ("36", "12(3)"),
    ("6", "6 cm^2 + 1"),
    ("36", "6 cm^2"),
    ("5", "5 x^2"),
    ("5", "5٣"),
    ("53", "5₃"),
    ("2/3", "2 0.(3)"),
    ("5", "5万"),
    ("5", "5个半"),
    ("5", "5以上"),
    ("13", "12 或 13"),
    ("30", r"\angle A = \angle B = 30"),
]


@pytest.fixture(scope="module")
def math_grader():
    pytest.importorskip("math_verify")
    with MathGrader(timeout_s=20.0) as grader:
        yield grader


@pytest.mark.parametrize(("gold", "answer"), EQUAL_NUMBERS)
def test_equal_numbers_under_both_graders(math_grader: MathGrader, gold: str, answer: str) -> None:
    assert number_equal(gold, answer)
    for one, other in ((gold, answer), (answer, gold)):
        assert math_grader.grade_answer(other, {"problem_id": "p", "answer": one})


@pytest.mark.parametrize(("gold", "answer"), UNEQUAL_NUMBERS)
def test_unequal_numbers_under_both_graders(math_grader: MathGrader, gold: str, answer: str) -> None:
    assert not number_equal(gold, answer)
    for one, other in ((gold, answer), (answer, gold)):
        assert not math_grader.grade_answer(other, {"problem_id": "p", "answer": one})


@pytest.mark.parametrize(
    ("text", "value"),
    [("14 apples a day", 14), ("26 km/h", 26), ("12 + 2 = 14", 14), ("approximately 14", 14), ("50%", 50)],
)
def test_math_accepts_what_number_accepts(math_grader: MathGrader, text: str, value: int) -> None:
    assert parse_number(text) == Fraction(value)
    assert math_grader.grade_answer(text, {"problem_id": "p", "answer": str(value)})
    assert not math_grader.grade_answer(text, {"problem_id": "p", "answer": str(value + 1)})


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("e^2", r"\mathrm{e}^2", True),
        ("e^2", r"\text{e}^{2}", True),
        ("1+i", r"1+\mathrm{i}", True),
        (r"\frac{\pi}{2}", "π/2", True),
        (r"3\pi", r"3\pi~\mathrm{cm}^2", True),
        (r"3\pi", "3π cm²", True),
        (r"3\sqrt{2}", r"3\sqrt{2}~\text{cm}", True),
        (r"3\sqrt{2}", "3√2", True),
        (r"\frac{\pi}{3}", r"0.\overline{3}\pi", True),
        (r"(\frac13, 1500)", r"(0.\overline{3}, 1.5e3)", True),
        ("25", "5²", True),
        ("90^\\circ", "90°", True),
        (r"\emptyset", r"\varnothing", True),
        (r"\emptyset", r"\{\}", True),
        (r"\emptyset", r"\left\{ \right\}", True),
        (r"\emptyset", "{}", True),
        (r"\emptyset", "∅", True),
        (r"\emptyset", r"\text{empty set}", True),
        ("0.5", r"50\%", True),
        (r"2\sqrt{3}", r"\boldsymbol{2\sqrt{3}}", True),
        (r"\frac{\pi}{6}", r"\angle BAC = \frac{\pi}{6}", True),
        ("B", r"\textbf{(B)}\ 12", True),
        (r"\text{(B)}", r"\text{Option B}", True),
        ("B", "B. 12", True),
        ("B", "(C) 12", False),
        ("(B) 12", "(B) 13", False),
        ("A", r"\text{(A) and (B)}", False),
        ("C", "(C)^2", False),
        (r"(-\infty, 3)", "x<3", True),
        ("[2,3]", r"2 \le x \le 3", True),
        (r"\mathbb{R}\setminus\{2\}", r"(-\infty,2)\cup(2,\infty)", True),
        (r"\emptyset", "0", False),
        (r"\emptyset", r"\{0\}", False),
        (r"\emptyset", r"\{\emptyset\}", False),
        ("e", r"\pi", False),
        ("e^2", "7.389", False),
        (r"3\pi", r"3\pi^2", False),
        (r"\frac{1}{2}bh", r"\frac{1}{2}b", False),
        ("x", r"x \text{ or } 2", False),
        (r"\mathbb{R}\setminus\{2\}", r"(-\infty,2)\cup(3,\infty)", False),
        (r"(-\infty,3)", r"x \le 3", False),
    ],
)
def test_spellings_of_formulas(math_grader: MathGrader, gold: str, answer: str, right: bool) -> None:
    for one, other in ((gold, answer), (answer, gold)):
        assert math_grader.grade_answer(other, {"problem_id": "p", "answer": one}) is right


def test_math_verify_alone_is_the_floor_on_equal_pairs(math_grader: MathGrader) -> None:
    from math_verify import parse, verify

    equal = [(one, other) for one, other in EQUAL_NUMBERS]
    equal += [
        (r"\frac34", ".75"),
        (r"\log_2 8", "3"),
        ("5!", "120"),
        (r"\binom{5}{2}", "10"),
        ("1,2", "x=1, x=2"),
    ]
    equal += [
        ("y=x^2", "x^2"),
        (r"\text{(A)}", "A"),
        ("1:2", "1/2"),
        (r"x \neq 2", "x ≠ 2"),
        ("0.6", r"60\%"),
    ]
    alone = [pair for pair in equal if verify(*(parse(f"${side}$") for side in pair))]
    assert len(alone) > 15
    for gold, answer in alone:
        assert math_grader.grade_answer(answer, {"problem_id": "p", "answer": gold}), (gold, answer)


def test_formulas_the_grader_calls_equal_are_spelled_alike(math_grader: MathGrader) -> None:
    answers = [
        r"\pi/2",
        r"\frac{\pi}{2}",
        r"\dfrac{\pi}{2}",
        "3",
        "3.0",
        None,
        "x<3",
        r"(-\infty,3)",
        r"\pi/3",
    ]
    ids = ["p"] * len(answers)
    alike = [r"\pi/2"] * 3 + ["3", "3", None, "x<3", "x<3", r"\pi/3"]
    assert spell_alike(ids, answers, math_grader) == alike
    # Problems are kept apart, and one that reads numbers only, or whole texts, groups numbers only.
    assert spell_alike(["p", "q"], [r"\pi/2", r"\frac{\pi}{2}"], math_grader) == [r"\pi/2", r"\frac{\pi}{2}"]
    for grader in (NumberGrader(), FunctionGrader(lambda text, problem: True), None):
        assert spell_alike(["p"] * 3, ["½", "0.50", r"\pi/2"], grader) == ["0.5", "0.5", r"\pi/2"]


def test_a_hostile_answer_is_compared_once_and_the_others_still_group() -> None:
    pytest.importorskip("math_verify")
    hostile = [r"9^{9^{9^{9}}}", r"8^{9^{9^{9}}}"]
    with MathGrader(timeout_s=2.0) as grader:
        answers = [hostile[0], "x^2", hostile[1], r"x \cdot x", "y", "z"]
        assert grader.group_answers([answers]) == [[hostile[0], "x^2", hostile[1], "x^2", "y", "z"]]
        assert grader.counts.timeouts == len(hostile)


def test_comparisons_are_bounded_and_the_most_frequent_spelling_stands_for_its_group() -> None:
    calls = []

    def same(one: str, other: str) -> bool:
        calls.append((one, other))
        return one.lower() == other.lower()

    answers = ["b", "B", "B", *(f"word{i}" for i in range(200)), "WORD199"]
    grouped = group_spellings(answers, same)
    assert grouped[:3] == ["B", "B", "B"]
    assert len(calls) <= MAX_DISTINCT * (MAX_DISTINCT + 1) / 2
    assert grouped[-2:] == ["word199", "WORD199"]  # beyond the bound: each for itself
