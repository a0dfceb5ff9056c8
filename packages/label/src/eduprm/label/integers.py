"""Integer arithmetic from text, with bounds and without eval.

What it is for: reasoning-gym's bitwise_arithmetic evaluates its problem, "((0xa1 << 0x2) - 0x3)" say, while it
scores. Text may be hostile: names, calls and powers are refused, and no value gets longer than 32,768 bits. Source:
ours.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

MAX_BITS = 1 << 15
MAX_CHARS = 32_000

_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[int], int]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}


def integer_value(text: str) -> int:
    """The value of an expression of integers with + - * << >> & | ^ ~ and round brackets.

    Raises:
        ValueError: anything else, a value beyond 32,768 bits, or a text beyond 32,000 characters.

    Examples:
        >>> integer_value("((0xa1 << 0x2) - 0x3)")
        641
        >>> integer_value("9**9**9")
        Traceback (most recent call last):
        ValueError: expected integers and + - * << >> & | ^ ~, got BinOp
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"expected at most {MAX_CHARS} characters, got {len(text)}")
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"expected an expression of integers, got {type(error).__name__}") from error


def _value(node: ast.AST) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _bounded(_UNARY[type(node.op)](_value(node.operand)))
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.LShift) and not 0 <= right <= MAX_BITS:
            raise ValueError(f"expected a shift by 0 to {MAX_BITS} bits, got {right}")
        return _bounded(_BINARY[type(node.op)](left, right))
    raise ValueError(f"expected integers and + - * << >> & | ^ ~, got {type(node).__name__}")


def _bounded(value: int) -> int:
    if value.bit_length() > MAX_BITS:
        raise ValueError(f"expected at most {MAX_BITS} bits, got {value.bit_length()}")
    return value
