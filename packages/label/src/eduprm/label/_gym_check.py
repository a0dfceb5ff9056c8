"""reasoning-gym's own scorers on one answer, without their eval. Used in the worker only.

Several scorers of reasoning-gym 0.1 call `eval` on the model's answer (string_insertion, spiral_matrix, binary_matrix,
number_sorting, n_queens) or on the problem (bitwise_arithmetic), or sympy's `parse_expr`, which is `eval` too
(countdown, puzzle24, the integrations, polynomial_multiplication). Here `eval` becomes `ast.literal_eval` in every
module of theirs, integer arithmetic with bounds in bitwise_arithmetic, and an answer goes to `parse_expr` only if it is
made of numbers, operators, round brackets, single letters and known function names.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from eduprm.label.integers import integer_value

_TUPLES_OF_TUPLES = {"arc_agi": "output", "rearc": "output"}
"""Metadata that a scorer compares as a tuple of tuples, which JSON turned into lists."""

_ALLOWED = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+|[A-Za-z]+|[-+*/^()=, \t])*+")
_WORD = re.compile(r"[A-Za-z]+")
_TRIGONOMETRY = {"sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"}
_FUNCTIONS = _TRIGONOMETRY | {"exp", "log", "ln", "sqrt", "pi", "Abs", "Rational"}


def is_arithmetic(text: object) -> bool:
    """Whether `text` may be given to an evaluating parser: no attributes, quotes, lists, dunders, unknown names.

    Examples:
        >>> is_arithmetic("x**2/2 + sin(x) + C"), is_arithmetic("().__class__"), is_arithmetic("open(1)")
        (True, False, False)
    """
    if not isinstance(text, str) or not _ALLOWED.fullmatch(text):
        return False
    return all(len(word) == 1 for word in set(_WORD.findall(text)) - _FUNCTIONS)


def load_check() -> Callable[[dict[str, Any]], float]:
    """Import reasoning-gym, take its evals out, and return the check. Changes modules of this whole process."""
    import reasoning_gym
    import sympy
    import sympy.parsing.sympy_parser as sympy_parser

    parse_expr = sympy.parse_expr

    def guarded(text: Any, *args: Any, **options: Any) -> Any:
        if not is_arithmetic(text):
            raise ValueError("expected arithmetic over numbers, single letters and known functions")
        return parse_expr(text, *args, **options)

    for module in (sympy, sympy_parser):
        setattr(module, "parse_expr", guarded)  # noqa: B010
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "reasoning_gym":
            # A module's own global comes before the builtin. Those that evaluate while they *generate* only score here.
            setattr(module, "eval", ast.literal_eval)  # noqa: B010
            setattr(module, "exec", _refuse)  # noqa: B010
            if getattr(module, "parse_expr", None) is parse_expr:
                setattr(module, "parse_expr", guarded)  # noqa: B010
    setattr(sys.modules["reasoning_gym.arithmetic.bitwise_arithmetic"], "eval", integer_value)  # noqa: B010

    @lru_cache(maxsize=256)
    def scorer(source: str, config: str) -> Callable[..., Any]:
        if config == "{}":
            return reasoning_gym.get_score_answer_fn(source)
        return reasoning_gym.create_dataset(source, **json.loads(config)).score_answer

    def check(item: dict[str, Any]) -> float:
        """Score in [0, 1] of `answer` for the entry (question, answer, metadata) of the dataset `source`."""
        source, entry = item["source"], item["entry"]
        if name := _TUPLES_OF_TUPLES.get(source):
            entry["metadata"][name] = tuple(map(tuple, entry["metadata"][name]))
        return float(scorer(source, json.dumps(item["config"], sort_keys=True))(item["answer"], entry))

    return check


def _refuse(*_: object) -> None:
    raise ValueError("expected a scorer that runs no code")
