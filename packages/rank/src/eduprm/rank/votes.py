"""How much an answer has behind it: sums of weights, WRF and HMR, as expressions over a problem's candidates.

For the vote rules of `rules`. It does not know which answer wins, nor how ties are broken (see `selection`).
Source of WRF and HMR: arXiv 2508.01773, which names both; the formula of WRF is public, the rule of HMR and how rewards
are normalised are not, so both stand here as we chose them.

Expressions are evaluated on rows with ``problem_id``, ``answer_key`` (null: no answer), ``rank`` and ``_weight``, the
candidate's reward over the largest of its problem. A candidate without an answer has no vote and counts nowhere.
"""

from collections.abc import Callable

import polars as pl

Votes = Callable[[], pl.Expr]
"""Builds the expression that gives every candidate what its answer has behind it."""

_ANSWER = ["problem_id", "answer_key"]


def summed() -> pl.Expr:
    """The sum of the answer's weights."""
    return pl.col("_weight").sum().over(_ANSWER)


def weighted_reward_frequency(reward_share: float) -> Votes:
    """WRF: w times the answer's normalised reward plus 1 - w times its frequency.

    The reward of an answer is that of its best candidate; normalised, it is divided by the sum over the problem's
    answers, as a frequency is by the number of candidates: both add up to 1 and stand on one scale. So w = 0 is the
    plain majority and w = 1 the PRM's best candidate that has an answer. Rewards that are all 0 say nothing.

    Raises:
        ValueError: w outside [0, 1].
    """
    _check_share("the weight of WRF", reward_share)

    def votes() -> pl.Expr:
        total = pl.when(_opens_answer()).then(_best_reward()).otherwise(0.0).sum().over("problem_id")
        normalised = pl.when(total > 0).then(_best_reward() / total).otherwise(0.0)
        return reward_share * normalised + (1.0 - reward_share) * _frequency()

    return votes


def hybrid_majority_reward(clear_share: float) -> Votes:
    """HMR: the majority where it is clear, the PRM where it is not.

    Clear means: one answer alone has the most votes, and they are more than this share of all votes. Otherwise the
    answer of the best candidate wins. So 0 is the plain majority with ties left to the PRM, and 1 is always the PRM's
    choice among the candidates with an answer.

    Raises:
        ValueError: a share outside [0, 1].
    """
    _check_share("the share of HMR", clear_share)

    def votes() -> pl.Expr:
        frequency = _frequency()
        top = frequency.max().over("problem_id")
        num_top = (_opens_answer() & (frequency == top)).sum().over("problem_id")
        clear = (num_top == 1) & (top > clear_share)
        return pl.when(clear).then(frequency).otherwise(_best_reward())

    return votes


def _check_share(name: str, share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], got {share}")


def _best_reward() -> pl.Expr:
    return pl.col("_weight").max().over(_ANSWER)


def _opens_answer() -> pl.Expr:
    """True for one candidate of every answer, the first."""
    return pl.col("answer_key").is_not_null() & (pl.col("rank") == pl.col("rank").min().over(_ANSWER))


def _frequency() -> pl.Expr:
    votes = pl.col("answer_key").count()  # does not count nulls
    return votes.over(_ANSWER) / votes.over("problem_id")
