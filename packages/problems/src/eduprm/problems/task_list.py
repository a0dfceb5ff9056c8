"""The named tasks: a reasoning-gym data set each, its settings, and which of its questions are wanted.

It knows what makes a question worth asking (no factor 0, numbers that stay small); drawing them is `tasks`. Ours.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eduprm.problems.worked import worked_solution

_NUMBER = re.compile(r"(?<!\d )-?\d+")
_SIGNED_OPERAND = re.compile(r"-\d")
_ZERO_OPERAND = re.compile(r"(?<![\d.])0+(?![\d.])")


def _no_zero(expression: str) -> bool:
    return not _ZERO_OPERAND.search(expression)


def _small_steps(dataset: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether an entry can be worked with no number below 0 or above 99 on the way."""

    def keep(entry: Mapping[str, Any]) -> bool:
        expression = str(entry["metadata"].get("expression", ""))
        # With a zero factor every wrong step before it still ends in the right answer.
        if _SIGNED_OPERAND.search(expression) or ("*" in expression and not _no_zero(expression)):
            return False
        worked = worked_solution(dataset, entry["metadata"])
        return worked is not None and all(0 <= int(number) <= 99 for number in _NUMBER.findall(worked))

    return keep


@dataclass(frozen=True, kw_only=True)
class Task:
    """A named kind of problems: a reasoning-gym data set, its settings, and which questions are wanted."""

    dataset: str
    config: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[Mapping[str, Any]], bool] = lambda entry: True


TASKS: dict[str, Task] = {
    "products": Task(
        dataset="products",
        config={"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 1},
        # With a zero every wrong step still ends in the right answer.
        keep=lambda entry: _no_zero(entry["metadata"]["expression"]),
    ),
    "products12": Task(
        dataset="products",
        config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
        keep=lambda entry: _no_zero(entry["metadata"]["expression"]),
    ),
    "chain_sum": Task(
        dataset="chain_sum",
        config={"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1},
    ),
    "long_sum": Task(
        dataset="chain_sum",
        config={"min_terms": 6, "max_terms": 8, "min_digits": 1, "max_digits": 1},
        keep=_small_steps("chain_sum"),
    ),
    "long_product": Task(
        dataset="products",
        config={"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1},
        keep=lambda entry: _no_zero(entry["metadata"]["expression"]),
    ),
    "mixed": Task(
        dataset="basic_arithmetic",
        config={
            "min_terms": 6,
            "max_terms": 6,
            "min_digits": 1,
            "max_digits": 1,
            "operators": ["+", "-", "*"],
            "allow_negation": False,
        },
        keep=_small_steps("basic_arithmetic"),
    ),
    "equations": Task(
        dataset="simple_equations",
        config={"min_terms": 2, "max_terms": 4, "min_value": 1, "max_value": 9},
        keep=_small_steps("simple_equations"),
    ),
    "fractions": Task(
        dataset="fraction_simplification",
        config={"min_value": 1, "max_value": 9, "min_factor": 2, "max_factor": 36, "styles": ["plain"]},
        keep=_small_steps("fraction_simplification"),
    ),
}
"""Named tasks; any other reasoning-gym data set is reached as ``rg:<dataset>``."""
