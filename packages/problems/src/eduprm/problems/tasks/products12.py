"""Products of two numbers of one or two digits, none of them 0."""

from functools import partial

from eduprm.problems.arithmetic import product_question, worked_examples, worked_long_product
from eduprm.problems.tasks._reasoning_gym import ReasoningGym, no_zero

Task = partial(
    ReasoningGym,
    "products",
    {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2},
    keep=no_zero,
    shots=worked_examples(product_question, worked_long_product, "9 * 4", "34 * 12", "6 * 8", "57 * 23"),
)
