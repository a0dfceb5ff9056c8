"""Worded and worked arithmetic: the worked examples of tasks.

The questions have reasoning-gym 0.1.25's wording (a test compares them).
"""

import re
from collections.abc import Callable

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


def worked_examples(
    wording: Callable[[str], str], worked: Callable[[str], str], *expressions: str
) -> tuple[tuple[str, str], ...]:
    """Return (question, solution) pairs of some expressions."""
    return tuple((wording(expression), worked(expression)) for expression in expressions)
