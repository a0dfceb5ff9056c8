"""Prompts as chat turns: four worked examples per task, one step a line, last line "#### N"; or zero-shot.

It knows wording only: no tokenizer, no chat template, no generator. The worked examples are fixed here, so that a
prompt is the same in training and in reranking; `tasks.make_problems` leaves their questions out by text.
The questions have reasoning-gym 0.1.25's wording (a test compares them); the GSM8K-style ones are our own.
"""

import re
from collections.abc import Callable
from functools import cache

Message = dict[str, str]
"""One chat turn: {"role": "user" or "assistant", "content": text}."""

ZERO_SHOT = "zero_shot"
_ZERO_SHOT_REQUEST = (
    "Work it out step by step, one step a line. End with a last line that holds #### and the answer alone."
)
STEPS = "steps"
_STEPS_SYSTEM = "Steps"
_TAUGHT = {"smollm2-135m-steps": STEPS}
_OPERATION = re.compile(r"\s*([*+-])\s*")


def product_question(expression: str) -> str:
    """reasoning-gym's wording of a product.

    Examples:
        >>> product_question("3 * 4")
        'Solve the following multiplication: 3 * 4. Give only the result as your final answer.'
    """
    return f"Solve the following multiplication: {expression}. Give only the result as your final answer."


def sum_question(expression: str) -> str:
    """reasoning-gym's wording of a chain sum.

    Examples:
        >>> sum_question("3 + 4")
        'State the final answer to the following arithmetic problem: 3 + 4 ='
    """
    return f"State the final answer to the following arithmetic problem: {expression} ="


def worked_chain(expression: str) -> str:
    """Work an expression of integers and one kind of precedence from left to right, one operation a line.

    Examples:
        >>> print(worked_chain("3 * 4 * 5"))
        3 * 4 = 12
        12 * 5 = 60
        #### 60
    """
    first, *rest = _OPERATION.split(expression)
    total, lines = int(first), []
    for operation, text in zip(rest[::2], rest[1::2], strict=True):
        term = int(text)
        result = {"*": total * term, "+": total + term, "-": total - term}[operation]
        lines.append(f"{total} {operation} {term} = {result}")
        total = result
    return "\n".join([*lines, f"#### {total}"])


def worked_long_product(expression: str) -> str:
    """Work a product of two numbers, the second cut into tens and ones.

    Examples:
        >>> print(worked_long_product("34 * 12"))
        34 * 10 = 340
        34 * 2 = 68
        340 + 68 = 408
        #### 408
    """
    left, right = (int(text) for text in expression.split("*"))
    tens, ones = right // 10 * 10, right % 10
    if not tens or not ones:
        return worked_chain(expression)
    lines = [
        f"{left} * {tens} = {left * tens}",
        f"{left} * {ones} = {left * ones}",
        f"{left * tens} + {left * ones} = {left * right}",
    ]
    return "\n".join([*lines, f"#### {left * right}"])


def _arithmetic(
    wording: Callable[[str], str], worked: Callable[[str], str], *expressions: str
) -> tuple[tuple[str, str], ...]:
    return tuple((wording(expression), worked(expression)) for expression in expressions)


_GSM8K: tuple[tuple[str, str], ...] = (
    (
        "A baker fills 6 trays with 8 rolls each and then sells 19 of the rolls. How many rolls are left?",
        "The trays hold 6 * 8 = 48 rolls.\nAfter the sale 48 - 19 = 29 rolls are left.\n#### 29",
    ),
    (
        "Omar cycles 14 km on Monday. On Tuesday he cycles half as far, and on Wednesday 5 km more than on "
        "Tuesday. How many kilometres does he cycle on the three days together?",
        "On Tuesday he cycles 14 / 2 = 7 km.\nOn Wednesday he cycles 7 + 5 = 12 km.\n"
        "Together he cycles 14 + 7 + 12 = 33 km.\n#### 33",
    ),
    (
        "A choir buys 25 scores for $4 each and 3 folders for $12 each. It pays with $150. How many dollars "
        "does it get back?",
        "The scores cost 25 * 4 = 100 dollars.\nThe folders cost 3 * 12 = 36 dollars.\n"
        "All of it costs 100 + 36 = 136 dollars.\nThe choir gets back 150 - 136 = 14 dollars.\n#### 14",
    ),
    (
        "A tank loses 3 litres of water every 20 minutes. It holds 90 litres at noon. How many litres does it "
        "hold at 4 p.m.?",
        "From noon to 4 p.m. there are 4 * 60 = 240 minutes.\nThat is 240 / 20 = 12 times 20 minutes.\n"
        "The tank loses 12 * 3 = 36 litres.\nIt then holds 90 - 36 = 54 litres.\n#### 54",
    ),
)

SHOTS: dict[str, tuple[tuple[str, str], ...]] = {
    "products": _arithmetic(
        product_question, worked_chain, "7 * 8", "3 * 4 * 5", "2 * 9 * 3 * 6", "6 * 5 * 7"
    ),
    "products12": _arithmetic(product_question, worked_long_product, "9 * 4", "34 * 12", "6 * 8", "57 * 23"),
    "chain_sum": _arithmetic(sum_question, worked_chain, "6 + 3", "9 - 4 + 7", "2 - 8", "5 + 8 - 6"),
    "gsm8k": _GSM8K,
}
"""Worked examples by style: (question, solution) pairs."""


def style_for(task: str, *, policy: str | None = None) -> str:
    """The style of a task: what the policy was taught, else the task's own worked examples, else zero-shot.

    Args:
        task: a task's name.
        policy: a policy's name; one that was taught a style is asked in it, whatever the task.

    Examples:
        >>> style_for("products"), style_for("rg:gcd")
        ('products', 'zero_shot')
        >>> style_for("products", policy="smollm2-135m-steps")
        'steps'
    """
    if policy in _TAUGHT:
        return _TAUGHT[policy]
    return task if task in SHOTS else ZERO_SHOT


def messages_for(question: str, style: str) -> list[Message]:
    """Chat turns that ask a question: the style's worked examples first, the question last.

    Args:
        question: the problem's text.
        style: a name out of `SHOTS`; "zero_shot", which adds a request for steps and the last line; or "steps",
            the bare question under a one-word system turn, for a policy that was taught to answer so.

    Raises:
        ValueError: no such style; the message lists them.

    Examples:
        >>> messages = messages_for(product_question("2 * 3"), "products")
        >>> len(messages), messages[1]["role"], messages[-1]["content"][:20]
        (9, 'assistant', 'Solve the following ')
    """
    if style == ZERO_SHOT:
        return [{"role": "user", "content": f"{question}\n\n{_ZERO_SHOT_REQUEST}"}]
    if style == STEPS:
        return [{"role": "system", "content": _STEPS_SYSTEM}, {"role": "user", "content": question}]
    if style not in SHOTS:
        raise ValueError(f"style must be one of {', '.join([*SHOTS, ZERO_SHOT, STEPS])}; got {style!r}")
    turns: list[Message] = []
    for shot_question, solution in SHOTS[style]:
        turns.append({"role": "user", "content": shot_question})
        turns.append({"role": "assistant", "content": solution})
    return [*turns, {"role": "user", "content": question}]


@cache
def shot_questions() -> frozenset[str]:
    """Questions of all worked examples: never to be used as problems.

    Examples:
        >>> product_question("7 * 8") in shot_questions()
        True
    """
    return frozenset(question for pairs in SHOTS.values() for question, _ in pairs)
