"""Products of three or four one-digit numbers, none of them 0."""

from functools import partial

from eduprm.problems.tasks._reasoning_gym import ReasoningGym, no_zero

Task = partial(
    ReasoningGym,
    "products",
    {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1},
    keep=no_zero,
)
