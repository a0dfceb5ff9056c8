"""What an answer has behind it, as expressions over a problem's candidates: sum of weights, best weight, frequency.

Expressions are evaluated on rows with ``problem_id``, ``answer_key`` (null: no answer), ``rank`` and ``_weight``, the
candidate's weight. A candidate without an answer has no vote and counts nowhere.
"""

import polars as pl

_ANSWER = ["problem_id", "answer_key"]


def summed_weight() -> pl.Expr:
    """The sum of the answer's weights."""
    return pl.col("_weight").sum().over(_ANSWER)


def best_weight() -> pl.Expr:
    """The weight of the answer's heaviest candidate."""
    return pl.col("_weight").max().over(_ANSWER)


def frequency() -> pl.Expr:
    """The answer's share of all candidates with an answer."""
    votes = pl.col("answer_key").count()  # does not count nulls
    return votes.over(_ANSWER) / votes.over("problem_id")


def opens_answer() -> pl.Expr:
    """True for one candidate of every answer, the first."""
    return pl.col("answer_key").is_not_null() & (pl.col("rank") == pl.col("rank").min().over(_ANSWER))
