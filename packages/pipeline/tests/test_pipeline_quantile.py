"""The bound of P-EDU as a quantile: which beginnings count, and that no order of anything changes it."""

from __future__ import annotations

import asyncio

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eduprm.core.command_line import UsageError
from eduprm.forest import NODE_SCHEMA
from eduprm.pipeline.prefix_quantile import QuantileScorer, beginnings, score_quantile


def trees() -> list[pl.DataFrame]:
    """Question p: 5 6, then 7 (a leaf) or 8 9, then two leaves; question q: an empty root, two leaves."""
    rows = [
        ("p", 0, None, [5, 6]), ("p", 1, 0, [7]), ("p", 2, 0, [8, 9]), ("p", 3, 2, [1]), ("p", 4, 2, [2]),
        ("q", 0, None, []), ("q", 1, 0, [3]), ("q", 2, 0, [4]),
    ]  # fmt: skip
    inner = {("p", 0), ("p", 2), ("q", 0)}
    full = [
        (name, "edu", node, parent, ids, [-0.5] * len(ids), [0.7] * len(ids), "x" * len(ids),
         None if (name, node) in inner else "stop")
        for name, node, parent, ids in rows
    ]  # fmt: skip
    return [pl.DataFrame(full, schema=NODE_SCHEMA, orient="row")]


class Lengths:
    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    async def __call__(self, problem_id, prefixes):
        self.asked += prefixes
        return [len(ids) / 10 for ids in prefixes]


def test_beginnings_are_the_ends_of_inner_nodes() -> None:
    found = list(beginnings(trees()))
    assert found == [("p", [(5, 6), (5, 6, 8, 9)]), ("q", [])]


def test_the_bound_by_hand() -> None:
    scorer = Lengths()
    prm = QuantileScorer(scorer, trees)
    # Scores .2 and .4: less than half may lie below the lowest, half below .4.
    assert [asyncio.run(prm.quantile(share)) for share in (0.4, 0.5, 0.9)] == [0.2, 0.4, 0.4]
    assert scorer.asked == [(5, 6), (5, 6, 8, 9)]  # once
    assert asyncio.run(prm("p", [(1,)])) == [0.1]


def test_trees_that_ask_at_once_read_once(capsys) -> None:
    scorer = Lengths()
    prm = QuantileScorer(scorer, trees)

    async def ask():
        return await asyncio.gather(*(prm.quantile(share) for share in (0.4, 0.5, 0.5)))

    assert asyncio.run(ask()) == [0.2, 0.4, 0.4]
    assert len(scorer.asked) == 2
    assert capsys.readouterr().err.count("bound 0.2") == 1


def test_no_training_trees_are_said() -> None:
    with pytest.raises(UsageError, match="expected training trees with anchors"):
        asyncio.run(QuantileScorer(Lengths(), list).quantile(0.2))


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_at_most_the_share_lies_below(scores: list[float], share: float) -> None:
    bound = score_quantile(sorted(scores), share)
    assert bound in scores
    assert sum(score < bound for score in scores) <= share * len(scores)
    above = [score for score in scores if score > bound]
    if above:  # no larger score would do
        assert sum(score < min(above) for score in scores) > share * len(scores) - 1e-9
