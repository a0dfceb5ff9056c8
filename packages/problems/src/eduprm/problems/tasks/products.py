"""Products of two to four one-digit numbers, none of them 0."""

from functools import partial

from eduprm.problems.arithmetic import product_question, worked_chain, worked_examples
from eduprm.problems.tasks._reasoning_gym import ReasoningGym, no_zero

Task = partial(
    ReasoningGym,
    "products",
    {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 1},
    keep=no_zero,
    shots=worked_examples(product_question, worked_chain, "7 * 8", "3 * 4 * 5", "2 * 9 * 3 * 6", "6 * 5 * 7"),
)
