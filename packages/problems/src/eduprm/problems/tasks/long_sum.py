"""Sums and differences of six to eight one-digit numbers, with no number below 0 or above 99 on the way."""

from functools import partial

from eduprm.problems.tasks._reasoning_gym import ReasoningGym, small_steps

Task = partial(
    ReasoningGym,
    "chain_sum",
    {"min_terms": 6, "max_terms": 8, "min_digits": 1, "max_digits": 1},
    keep=small_steps("chain_sum"),
)
