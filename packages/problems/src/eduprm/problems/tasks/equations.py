"""Linear equations of two to four terms in one unknown, with no number below 0 or above 99 on the way."""

from functools import partial

from eduprm.problems.tasks._reasoning_gym import ReasoningGym, small_steps

Task = partial(
    ReasoningGym,
    "simple_equations",
    {"min_terms": 2, "max_terms": 4, "min_value": 1, "max_value": 9},
    keep=small_steps("simple_equations"),
)
