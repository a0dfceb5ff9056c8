"""Fractions to be simplified, with no number above 99 on the way."""

from functools import partial

from eduprm.problems.tasks._reasoning_gym import ReasoningGym, small_steps

Task = partial(
    ReasoningGym,
    "fraction_simplification",
    {"min_value": 1, "max_value": 9, "min_factor": 2, "max_factor": 36, "styles": ["plain"]},
    keep=small_steps("fraction_simplification"),
)
