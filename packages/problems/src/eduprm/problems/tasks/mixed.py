"""Six one-digit numbers under +, - and *, with no number below 0 or above 99 on the way."""

from functools import partial

from eduprm.problems.tasks._reasoning_gym import ReasoningGym, small_steps

Task = partial(
    ReasoningGym,
    "basic_arithmetic",
    {
        "min_terms": 6,
        "max_terms": 6,
        "min_digits": 1,
        "max_digits": 1,
        "operators": ["+", "-", "*"],
        "allow_negation": False,
    },
    keep=small_steps("basic_arithmetic"),
)
