"""Where the final answer stands: stop tokens, thoughts, prose and headings behind it, lines below its mark, boxes."""

import time

import pytest

from eduprm.label import NumberGrader, extract_answer, get_grader, strip_stop_tokens
from eduprm.label.answers import extract_marked
from eduprm.label.solution_text import solution_part

STOPPED = [
    ("#### 14<|im_end|>", ("<|im_end|>",)),
    ("#### 14<|eot_id|>\n", ("<|eot_id|>",)),
    ("#### 14</s>", ("</s>",)),
    ("#### 14<|endoftext|><|endoftext|>", ("<|endoftext|>", "<|endoftext|>")),
    ("#### 14<eos>", ("<eos>",)),
    ("#### 14<end_of_turn>\n<start_of_turn>user\n", ("<end_of_turn>", "<start_of_turn>user")),
    ("#### 14<|end|>", ("<|end|>",)),
    ("#### 14<｜end▁of▁sentence｜>", ("<｜end▁of▁sentence｜>",)),
    ("#### 14<|im_end|>\n<|im_start|>assistant\n", ("<|im_end|>", "<|im_start|>assistant")),
    ("#### 14[EOS]", ("[EOS]",)),
]


@pytest.mark.parametrize(("text", "tokens"), STOPPED)
def test_texts_of_stop_tokens_are_taken_off_and_told(text: str, tokens: tuple[str, ...]) -> None:
    assert strip_stop_tokens(text) == ("#### 14", tokens)
    for solution in (text, text.replace("####", "The answer is"), text.replace("#### 14", r"\boxed{14}")):
        assert extract_answer(solution) == "14"
    assert extract_answer("so 14" + text.removeprefix("#### 14")) == "14"


@pytest.mark.parametrize("text", ["#### 14\n", "a </s> b", "x < 3 | y > 2", "[1, 2]", "<b>", "14 <|", ""])
def test_what_is_no_stop_token_at_the_end_stays(text: str) -> None:
    assert strip_stop_tokens(text) == (text, ())


def test_stop_tokens_within_a_text_end_its_lines() -> None:
    text = (
        "3*4=12<|im_end|>\n<|im_start|>user\n12+2=14\n#### 14<|im_end|>\n<|im_start|>user\nThanks.<|im_end|>"
    )
    assert extract_answer(text) == "14"
    assert extract_answer("it is 14<|reserved_special_token_5|> then") == "14"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think>\boxed{5}? #### 7</think>So we get 14.", "14"),
        (r"maybe \boxed{5}</think>It is 14.", "14"),
        ("<think>a</think>12<think>#### 5</think>#### 14", "14"),
        (r"\boxed{14}<think>is the answer 13?", "14"),
        (r"\boxed{14}<think>the answer is 13</think>", "14"),
        (r"<think>\boxed{14}", None),
        (r"<think>\boxed{14}</think>", None),
        (r"[THINK]\boxed{5}[/THINK]14", "14"),
        (
            r"<|channel|>analysis<|message|>\boxed{3}<|end|><|start|>assistant<|channel|>final<|message|>14<|return|>",
            "14",
        ),
    ],
)
def test_what_stands_behind_the_thought_is_the_solution(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


PASSED_OVER = [
    "This answer is correct, since 15-1 = 14.",
    "This answer is reasonable because 12+3=15.",
    "(note: the answer: units are metres)",
    "#### Check\n\n15-3=12",
    "#### Verification:\n15-3=12",
    "#### Step 5: look back\nWe had 12 and 3.",
    "#### 3. Verify it\n15-3=12",
    "##### Explanation\nWe add 3.",
    "If the answer is 13, then 13+2 = 15.",
    "Is it that the answer is 13? No.",
    "The answer is not 13.",
    "The answer is in metres.",
    "I hope this answer is",
    "A wrong answer is 13.",
    "The answer is consistent with the 3 conditions.",
]


@pytest.mark.parametrize("behind", PASSED_OVER)
@pytest.mark.parametrize(
    "solution", [r"\boxed{14}.", "#### 14", "The answer is 14.", "Answer: 14", r"The answer is \boxed{14}."]
)
def test_prose_and_headings_behind_the_answer_are_none(solution: str, behind: str) -> None:
    assert extract_answer(f"12+2\n{solution}\n\n{behind}") == "14"


@pytest.mark.parametrize("solution", ["12+2 = 14", "**14**", "We have 14 apples"])
@pytest.mark.parametrize("behind", ["This answer is reasonable because 12+3=15.", "#### Check\n\nIt fits."])
def test_without_a_mark_the_last_number_before_such_prose_counts(solution: str, behind: str) -> None:
    assert extract_answer(f"{solution}\n\n{behind}") == "14"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 5, no\nThe answer is 14.", "14"),
        (r"\boxed{5}. Wrong! The answer is 14.", "14"),
        (r"The answer is 5. \boxed{14}", "14"),
        ("#### Step 4: add\n 12+2 = 14\n\n**14**", "14"),
        ("A: 12 apples. So the answer is Evelyn.", "Evelyn"),
        ("#### east\n\nThis answer is reasonable since he turned 3 times.", "east"),
        ("The answer is 14, since 12 + 2 = 14.", "14"),
        ("The answer is 14 because 2*7 = 14", "14"),
        ("The answers are 1 and 2.", "1 and 2"),
        ("Thus the answer equals 14.", "14"),
        ("**The answer is 14.** Bye", "14"),
        ("<answer> 14 </answer>", "14"),
        ("The answer is x = 5 or x = 6.", "x = 5 or x = 6"),
        ("The answer is 14 (rounded to the nearest integer).", "14"),
        ("The answer is 2.35, to 2 decimal places.", "2.35"),
        ("答案是 $x=3$，共 2 个步骤。", "x=3"),
        ("**答案**：$2\\sqrt{3}$", "2\\sqrt{3}"),
        ("所以，正确答案为 (1，2)。检验：3-2=1", "(1，2)"),
        ("因此，答案为：12 或 13", "12 或 13"),
        ("故选：B。", "B"),
        ("答案是 14。这个答案是正确的。", "14"),
        ("答案是 14。如果答案是 13，则不符合。", "14"),
        ("答案：12个苹果", "12个苹果"),
    ],
)
def test_the_last_answer_decides(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**Answer:**\n\n14", "14"),
        ("**Answer:**\n\n4 apples", "4 apples"),
        ("**Answer**: 14", "14"),
        ("Answer：14", "14"),
        ("#### Final Answer\n\n14", "14"),
        ("## Answer\n$\\frac{\\pi}{2}$", r"\frac{\pi}{2}"),
        ("####\n14", "14"),
        ("A:\n\n14", "14"),
        ("The answer is\n\n\\[\n\\frac{\\pi}{2}\n\\]\nDone, in 3 steps.", r"\frac{\pi}{2}"),
        ("The answer is:\n$$\n14\n$$\nDone.", "14"),
        ("Answer:\n\n\\[ 14 \\]", "14"),
        ("The answer is:\n```\n14\n```", "14"),
        ("The answer is:\n- 14\n- done", "14"),
        ("Here is the answer:\n\nFirst we add, then double it.\nThat gives 14.", "14"),
    ],
)
def test_the_answer_may_stand_below_its_mark(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{\text{The answer is } 14}", "14"),
        (r"\boxed{\text{Answer: 14}}", "14"),
        (r"\boxed{\text{Answer: } \frac{\pi}{2}}", r"\frac{\pi}{2}"),
        (r"\boxed{#### 14}", "14"),
        (r"\boxed{x = \boxed{14}}", "14"),
        (r"\boxed{14 \text{ (the answer is } x)}", "x)"),
        (r"$\text{The answer is } 14$.", "14"),
    ],
)
def test_marks_in_a_box(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("３乘４等于１２。", "12"),
        ("一共12个苹果", "12"),
        (r"so it is \frac{3}{4} of it", r"\frac{3}{4}"),
        (r"so 1.5 \times 10^{3} in all", r"1.5 \times 10^{3}"),
        (r"so 0.\overline{3} it is", r"0.\overline{3}"),
        ("so 12\u202f345 in all", "12,345"),
        ("lists of 100 200 300", "300"),
        (" (B)\n", "B"),
        ("**C**.", "C"),
        ("B or C", None),
    ],
)
def test_the_last_number_in_its_usual_spellings(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


def test_texts_of_other_tasks_are_marked_as_before() -> None:
    assert extract_marked("<think>#### no</think>#### A B C\nD E F<|im_end|>", whole=True) == "A B C\nD E F"
    assert extract_marked("#### 3 4\n\nThis answer is right.", whole=False) == "3 4"


@pytest.mark.parametrize("grader", ["number", "math"])
def test_what_was_graded_wrong(grader: str) -> None:
    if grader == "math":
        pytest.importorskip("math_verify")
    texts = [text for text, _ in STOPPED] + [rf"\boxed{{14}}. {behind}" for behind in PASSED_OVER[:4]]
    pairs = [(text, {"problem_id": "p", "answer": "14"}) for text in texts]
    judge = get_grader(grader)
    assert all(judge.grade(*pair) for pair in pairs)
    assert not any(NumberGrader().grade(text, {"problem_id": "p", "answer": "15"}) for text, _ in pairs)


@pytest.mark.parametrize(
    "text",
    [
        "<|x|>" * 20_000,
        "<think>" * 15_000,
        "</think>" * 12_000,
        "\\boxed{" * 14_000 + "}" * 14_000,
        "This answer is right. " * 5_000,
        "#### Check\n" * 9_000,
        "answer:\n" * 12_000,
        "answer is $$" * 8_000,
        "½" * 100_000,
        "0.(" * 30_000,
        "1 000 " * 16_000,
        "10^" * 30_000,
        "answer" + "*" * 100_000,
        "\n" * 100_000 + "answer:" + "\n" * 100_000,
    ],
    ids=range(14),
)
def test_hostile_texts_cost_little(text: str) -> None:
    start = time.process_time()
    extract_answer(text)
    solution_part(text)
    assert time.process_time() - start < 2.0
