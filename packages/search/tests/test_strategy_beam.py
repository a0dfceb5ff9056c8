"""Beam search over steps: one tree by hand, and what holds for every tree."""

from __future__ import annotations

import asyncio
import copy
import hashlib

import polars as pl
import pytest

from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.search import Budget, EduSampling, TransformersEngine, grow_forest
from eduprm.search.strategies.beam import BeamSearch

PROMPTS = [(5, 6, 7), (9, 9), tuple(range(10, 40)), (33, 20, 41, 8)]


async def opinions(problem_id, prefixes):
    return [hashlib.sha256(repr((problem_id, ids)).encode()).digest()[0] / 255 for ids in prefixes]


async def by_highest_token(problem_id, prefixes):
    return [max(ids) / 1000 for ids in prefixes]


@pytest.fixture
def grown(tiny_model, problems, letters):
    """The forest of a strategy on the four prompts, leaves and costs."""

    def run(strategy):
        engine = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)
        growth = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters)
        validate_forest(growth.forest)
        keys = ["problem_id", "tree", "leaf"]
        leaves = leaf_paths(growth.forest).join(found_leaves(growth.forest), on=keys)
        return growth, leaves.sort("problem_id", "order")

    return run


def test_a_tree_of_width_one_by_hand(scripted, letters):
    strategy = BeamSearch(
        scorer=by_highest_token, width=1, piece_tokens=2, budget=Budget(max_leaves=4, max_tokens_per_path=6)
    )
    branches = asyncio.run(strategy.grow((9,), problem_id="p", engine=scripted, tokenizer=letters))
    # Anchors are the odd tokens. At position 1, 11 goes on to 13 and its runner-up 111 to 113, which scores higher; at
    # position 3, 113 to 115 and 213 to 215; at position 5 the path is full, so both choices are solutions.
    assert [(b.start, b.token_ids.tolist(), b.finish) for b in branches] == [
        (3, [213, 214, 215], "length"),
        (5, [315], "length"),
        (0, [10, 11, 12, 13], "pruned"),
        (1, [111, 112, 113, 114, 115], "pruned"),
    ]
    assert not any(branch.greedy for branch in branches)
    assert scripted.decoded == 4 + 4 + 2  # runner-up tokens are known without decoding


def test_a_beam_wide_enough_finds_the_solutions_of_edu_sampling(grown):
    budget = Budget(max_leaves=64, max_tokens_per_path=6)
    _, beam = grown(BeamSearch(scorer=opinions, width=64, threshold=1.2, budget=budget, piece_tokens=4))
    _, edu = grown(EduSampling(threshold=1.2, budget=budget))
    ids = ["problem_id", pl.col("token_ids").cast(pl.List(pl.String)).list.join(" "), "finish", "greedy"]
    assert beam.height > 4
    assert set(beam.select(ids).rows()) == set(edu.select(ids).rows())


@pytest.mark.parametrize("samples", [None, 3])
@pytest.mark.parametrize("width", [1, 3])
def test_budgets_hold_and_the_same_inputs_give_the_same_forest(grown, width, samples):
    caps = {"max_leaves": 5, "max_tokens_per_path": 14, "max_forks_per_path": 6, "max_total_tokens": 60}
    strategy = BeamSearch(
        scorer=opinions, width=width, samples=samples, threshold=0.8, budget=Budget(**caps), piece_tokens=3
    )
    growth, leaves = grown(strategy)
    finished = leaves.filter(pl.col("finish") != "pruned")
    counts = finished.group_by("problem_id").len()
    assert counts.height == 4
    assert counts["len"].max() <= 5
    assert leaves["token_ids"].list.len().max() <= 14
    assert growth.costs["unique_tokens"].max() <= 60
    assert leaves.filter(pl.col("finish") == "pruned").height > 0
    # Solutions come before what was given up, and a smaller budget gives the first of them.
    fewer = strategy.model_copy(update={"budget": Budget(**(caps | {"max_leaves": 2}))})
    head = finished.filter(pl.col("order") < 2).select("problem_id", "token_ids", "finish", "order")
    assert grown(fewer)[1].filter(pl.col("finish") != "pruned").select(head.columns).equals(head)
    assert grown(strategy)[0].forest.equals(growth.forest)


def test_what_is_called_greedy_is_the_greedy_path(grown, plain):
    budget = Budget(max_leaves=8, max_tokens_per_path=14)
    for width in (1, 8):
        _, leaves = grown(BeamSearch(scorer=opinions, width=width, threshold=0.8, budget=budget))
        for problem_id, ids, greedy in leaves.select("problem_id", "token_ids", "greedy").iter_rows():
            path = [row[0] for row in plain.greedy(PROMPTS[int(problem_id[1:])], 14)]
            if greedy:
                assert ids == path
    _, drawn = grown(BeamSearch(scorer=opinions, width=8, samples=2, threshold=0.8, budget=budget))
    assert not drawn["greedy"].any()


@pytest.mark.parametrize("wrong", [{"width": 0}, {"samples": 0}, {"temperature": 0.0}, {"piece_tokens": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BeamSearch(scorer=opinions, **wrong)


def test_a_scorer_that_forgets_a_step_is_found_out(scripted, letters):
    async def forgetful(problem_id, prefixes):
        return [0.9]

    strategy = BeamSearch(scorer=forgetful, width=1)
    with pytest.raises(ValueError, match="expected a score for each"):
        asyncio.run(strategy.grow((9,), problem_id="p", engine=scripted, tokenizer=letters))
