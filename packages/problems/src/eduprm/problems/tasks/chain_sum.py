"""Sums and differences of two or three one-digit numbers."""

from functools import partial

from eduprm.problems.arithmetic import sum_question, worked_chain, worked_examples
from eduprm.problems.tasks._reasoning_gym import ReasoningGym

Task = partial(
    ReasoningGym,
    "chain_sum",
    {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1},
    shots=worked_examples(sum_question, worked_chain, "6 + 3", "9 - 4 + 7", "2 - 8", "5 + 8 - 6"),
)
