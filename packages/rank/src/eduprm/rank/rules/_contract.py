"""What a selection rule is: the class `Rule` of a module in this folder, or `package.module:Rule` of anybody's own.

Two kinds. A *leaf* rule gives every candidate a score, and the best one is chosen. A *vote* rule has a method
`votes` too: its scores are weights, votes make of the weights of equal answers what an answer has behind it, and the
heaviest candidate of the best answer is chosen. The class's arguments are the rule's options; one called `aggregate`
(`eduprm.rank.AGGREGATIONS`) lets tables show the rule by each aggregation.

Both methods give polars expressions over the candidates of many problems, sorted by (problem_id, rank); window
expressions over `problem_id` are fine. A score is a number for every candidate, minus infinity allowed. The columns:

    problem_id    String
    rank          Int32, 0, 1, ... in the order in which a problem's candidates were found
    tree, leaf    String, Int32: where the candidate comes from
    answer        String, null where none was found; answer_key: one spelling for equal answers
    num_tokens    Int32, tokens of the candidate (in files of solutions, where there are none, steps)
    step_scores   List(Float64), the PRM's score of each step, in [0, 1]
    logprob_sum   Float64, nats at temperature 1
    correct       Boolean, whether the answer is the gold one
    is_greedy     Float64, 1 for the solution of greedy decoding, else 0
    _weight       Float64, in `votes` alone: the candidate's score

Ties are not the rule's: scores within 1e-12 of the best, relatively, are equal, and the candidate found first wins.
"""

from __future__ import annotations

from typing import Protocol

import polars as pl

OPTIONAL_COLUMNS = ("step_scores", "logprob_sum", "correct", "is_greedy")
"""Columns that a rule must name in `needs` if it reads them: not every set of candidates has them."""


class LeafRule(Protocol):
    """Chooses the candidate of the best score.

    Attributes:
        label: what the rule is called in tables and figures.
        needs: the `OPTIONAL_COLUMNS` that it reads. A rule that reads `correct` is an oracle: it has no ties, and
            no table calls it the best.

    A number `place` may say where it stands in tables, the lowest first; without it before the oracle, which is last.
    """

    label: str
    needs: tuple[str, ...]

    def score(self) -> pl.Expr:
        """One number per candidate."""
        ...


class VoteRule(LeafRule, Protocol):
    """Chooses the answer with the most behind it; a candidate without an answer has no vote."""

    def votes(self) -> pl.Expr:
        """What a candidate's answer has behind it: equal for all candidates of an answer, at least 0."""
        ...
