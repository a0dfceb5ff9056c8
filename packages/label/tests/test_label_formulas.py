"""Formulas: what is equal, what only looks so, and that gold answers of MATH are right however they are written."""

import re

import polars as pl
import pytest

from eduprm.label import MathGrader, check_gold, grade_frame


@pytest.fixture(scope="module")
def math_grader():
    pytest.importorskip("math_verify")
    with MathGrader(timeout_s=20.0) as grader:
        yield grader


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (r"\frac{1}{2}", "0.5", True),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"\text{Evelyn}", "Evelyn", True),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3, \pi/2)", True),
        ("x=5", "5", True),
        ("1,-2", "-2, 1", True),
        ("x^2+1", "x^3+1", False),
        ("3x-y+13=0", "3x+4y+14=0", False),
        ("52_8", "52_7", False),
        ("(3,4]", "(3,4)", False),
        (r"\text{east}", r"\text{west}", False),
        # Called equal by math-verify 0.9 alone:
        (r"\pi", "3.14159265", False),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", False),
        (r"\frac{1}{3}", "0.333333", False),
        ("5", "6=5", False),
        # Several answers in one do not buy a hit:
        ("6", r"5 \text{ or } 6", False),
        ("5", "5$ or $6", False),
        ("5", "5, 5", False),
        # Containers: kind, number of elements, and 12 digits in every one of them.
        (r"(3, \pi)", "(3, 3.14159265)", False),
        (r"(\frac13, 2]", "(0.333333, 2]", False),
        (r"\{\frac13, 2\}", r"\{0.333333, 2\}", False),
        (r"(-\infty, \frac13) \cup (2, \infty)", r"(-\infty, 0.333333) \cup (2, \infty)", False),
        (r"\begin{pmatrix} 1/3 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 0.333333 \\ 2 \end{pmatrix}", False),
        (r"0 < x < \pi", "(0, 3.14159265)", False),
        (r"0 < x < \pi", r"x \in (0, \pi)", True),
        ("1,2", "1,2,2", False),
        (r"\{1,2\}", "(1,2)", False),
        ("(1,2)", "1,2", False),
        ("(1,2,3)", "[1,2,3]", False),
        (r"\{1,2\}", "2, 1", True),
        ("(1,2), (3,4)", "(3,4), (1,2)", True),
        (r"1 \pm \sqrt{19}", r"1 - \sqrt{19} \text{ and } 1 + \sqrt{19}", True),
        (r"1 \pm \sqrt{19}", "5.358898943, -3.358898943", False),
        (r"[1,2) \cup [2,3]", "[1,3]", True),
        # Bases.
        ("52_8", "52", False),
        ("52", "52_8", False),
        ("(52_8, 1)", "(52, 1)", False),
        ("52_8", "52_{8}", True),
        # Relations.
        ("x=5", "x=6=5", False),
        ("x=5", "x=5=5", False),
        ("x=5", "5=x", True),
        ("y = x/3", "y = 0.33333333x", False),
        ("y = 2x + 1", "2x - y + 1 = 0", True),
        ("xy = 2", r"x = \frac{2}{y}", True),
        (r"x \ge 2", r"[2, \infty)", True),
        ("x > 1", "x < 1", False),
        # A mixed number, settled before math-verify.
        (r"2\frac{1}{2}", "2.5", True),
        (r"2\frac{1}{2}", "10.5", False),
        (r"\frac{1}{2}3", r"\frac{1}{23}", False),
    ],
)
def test_formulas(math_grader: MathGrader, gold: str, answer: str, right: bool) -> None:
    assert math_grader.grade_answer(answer, {"problem_id": "p", "answer": gold}) is right


def harmless_spellings(gold: str) -> set[str]:
    """The same formula, as others would write it."""
    spellings = {gold, f"${gold}$", f"{gold}.", gold.replace(r"\frac", r"\dfrac"), gold.replace(" ", "")}
    spellings |= {gold.replace(r"\left", "").replace(r"\right", ""), gold.replace(r"\pi", r" \pi ")}
    spellings |= {
        gold.replace(r"^\circ", ""),
        gold.replace("pmatrix", "bmatrix"),
        re.sub(r",\\! ?", "", gold),
    }
    spellings.add(re.sub(r"\\d?frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", gold))
    spellings.add(re.sub(r"\\frac *(\d)(\d)(?!\d)", r"\\frac{\1}{\2}", gold))
    spellings.add(re.sub(r"_(\d)$", r"_{\1}", gold))
    spellings.add(re.sub(r"^(\d+) ?\\sqrt", r"\1 \\cdot \\sqrt", gold))
    if re.fullmatch(r"-?\d+", gold):
        spellings |= {f"{gold}.0", f"x = {gold}", f"{int(gold):,}"}
    if "," in gold and re.fullmatch(r"[-\d, ]+", gold):
        spellings |= {rf"\{{{gold}\}}", ", ".join(reversed(gold.split(",")))}
    return {spelling.strip() for spelling in spellings}


def test_harmless_spellings_of_the_gold_answers_of_math_are_right(math_grader: MathGrader, data_set) -> None:
    golds = pl.read_ndjson(data_set("math"))["answer"].unique(maintain_order=True).to_list()
    pairs = [
        (spelling, {"problem_id": gold, "answer": gold})
        for gold in golds
        for spelling in harmless_spellings(gold)
    ]
    wrong = [
        (problem["answer"], spelling)
        for (spelling, problem), right in zip(pairs, math_grader.grade_answers(pairs), strict=True)
        if not right
    ]
    assert len(pairs) > 2.8 * len(golds)
    assert not wrong


def test_a_tower_of_powers_is_killed_counted_and_the_grader_goes_on() -> None:
    pytest.importorskip("math_verify")
    problem = {"problem_id": "p", "answer": "x^2"}
    with MathGrader(timeout_s=2.0) as grader:
        assert not grader.grade(r"\boxed{9^{9^{9^{9}}}}", problem)
        assert grader.counts.timeouts == 1
        assert not grader.grade_answer("x" * 100_000, problem)
        assert grader.counts.refused == 1
        assert grader.grade(r"\boxed{x \cdot x}", problem)


def test_gold_answers_of_math_score_one_and_shuffled_ones_do_not(math_grader: MathGrader, data_set) -> None:
    rows = pl.read_ndjson(data_set("math")).select("answer", "solution", problem_id="unique_id")
    assert check_gold(rows, math_grader, template=r"\boxed{" + "{answer}}").height == 0
    solutions = rows.select("problem_id", text="solution")
    assert grade_frame(solutions, rows, math_grader)["correct"].all()
    shifted = solutions.with_columns(text=pl.col("text").shift(1, fill_value="none"))
    graded = grade_frame(shifted, rows, math_grader).join(rows, on="problem_id")
    same = graded["answer"] == graded["answer"].shift(-1)
    assert graded.filter(~same.fill_null(False))["correct"].mean() < 0.05
