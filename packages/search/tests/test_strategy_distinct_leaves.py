"""Distinct leaf enumeration: one tree by hand, and what holds for every tree."""

from __future__ import annotations

import asyncio
import copy
import itertools
import math

import numpy as np
import polars as pl
import pytest

from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.search import Budget, Completion, TransformersEngine, grow_forest
from eduprm.search.strategies.distinct_leaves import DistinctLeaves

PROMPTS = [(5, 6, 7), (9, 9), tuple(range(10, 40)), (33, 20, 41, 8)]


class Converging:
    """Goes on with 10, 11, ... 19 and the stop token 0; the runner-up of 12 is 112, behind which 13 follows too."""

    stop_ids = frozenset({0})
    context_length = 1000

    async def generate(self, request):
        at, ids = request.prefix_ids[-1], []
        while len(ids) < request.max_new_tokens and 0 not in ids:
            at = (at % 100 + 1) % 20
            ids.append(at)
        runner_up = {12: -1.0, 15: -2.0}
        return Completion(
            token_ids=np.array(ids, np.int32),
            logprobs=np.zeros(len(ids), np.float32),
            entropies=np.zeros(len(ids), np.float32),
            runner_up_ids=np.array(ids, np.int32) + 100,
            runner_up_logprobs=np.array([runner_up.get(token, -5.0) for token in ids], np.float32),
            finish="stop" if 0 in ids else "length",
            prefix_tokens=len(request.prefix_ids),
            cached_tokens=0,
        )


@pytest.mark.parametrize(
    ("options", "forks"),
    [
        # exp(-1) and exp(-2) are above .1, exp(-5) is not. The likelier fork first: six tokens as behind 12.
        # Behind 115 only five tokens are left until the end: a leaf.
        ({"same_tokens": 6}, [(2, [112, 13, 14, 15, 16, 17, 18], "pruned"), (5, [115, 16, 17, 18, 19, 0], "stop")]),
        ({"same_tokens": 6, "min_probability": 0.2}, [(2, [112, 13, 14, 15, 16, 17, 18], "pruned")]),
        ({"same_tokens": 6, "max_stopped": 1}, [(2, [112, 13, 14, 15, 16, 17, 18], "pruned")]),
        ({"same_tokens": 4}, [(2, [112, 13, 14, 15, 16], "pruned"), (5, [115, 16, 17, 18, 19], "pruned")]),
    ],
)  # fmt: skip
def test_a_tree_by_hand(letters, options, forks):
    grow = DistinctLeaves(**options).grow((9,), problem_id="p", engine=Converging(), tokenizer=letters)
    branches = asyncio.run(grow)
    greedy = (0, [*range(10, 20), 0], "stop")
    assert [(b.start, b.token_ids.tolist(), b.finish) for b in branches] == [greedy, *forks]
    assert [branch.greedy for branch in branches] == [True] + [False] * len(forks)


@pytest.fixture
def grown(tiny_model, problems, letters):
    def run(**budget):
        engine = TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)
        strategy = DistinctLeaves(min_probability=0.4, same_tokens=2, max_stopped=20, budget=Budget(**budget))
        growth = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters)
        validate_forest(growth.forest)
        keys = ["problem_id", "tree", "leaf"]
        leaves = leaf_paths(growth.forest).join(found_leaves(growth.forest), on=keys)
        return growth, leaves.sort("problem_id", "order")

    return run


def test_budgets_hold_leaves_differ_and_the_same_inputs_give_the_same_forest(grown):
    caps = {"max_tokens_per_path": 14, "max_forks_per_path": 2, "max_total_tokens": 60}
    growth, leaves = grown(max_leaves=6, **caps)
    finished = leaves.filter(pl.col("finish") != "pruned")
    assert 2 < finished.group_by("problem_id").len()["len"].max() <= 6
    assert leaves["token_ids"].list.len().max() <= 14
    assert growth.costs["unique_tokens"].max() <= 60
    paths = finished.select("problem_id", pl.col("token_ids").cast(pl.List(pl.String)).list.join(" "))
    assert not paths.is_duplicated().any()
    assert grown(max_leaves=6, **caps)[0].forest.equals(growth.forest)


def test_the_greedy_path_comes_first_and_forks_by_probability_among_those_not_cut_off(grown, plain):
    _, leaves = grown(max_leaves=6, max_tokens_per_path=14)
    for (problem_id,), tree in leaves.group_by("problem_id"):
        prompt = PROMPTS[int(problem_id[1:])]
        paths = [tuple(ids) for ids in tree.sort("order")["token_ids"]]
        assert paths[0] == tuple(row[0] for row in plain.greedy(prompt, 14))
        assert tree["greedy"].sum() == 1
        prefixes = []
        for number, ids in enumerate(paths[1:], start=1):
            # Left the path, found earlier, that it shares most tokens with.
            start = max(
                next(i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b)
                for other in paths[:number]
            )
            steps = [plain.distribution(prompt + ids[:i]) for i in range(start + 1)]
            top = steps[-1].topk(2)
            assert ids[start] == int(top.indices[1])
            assert float(top.values[1] - top.values[0]) > math.log(0.4) - 1e-4
            prefixes.append(sum(float(step[token]) for step, token in zip(steps, ids, strict=False)))
        # A fork of a later branch is never likelier than the branch's own.
        assert all(after <= before + 1e-4 for before, after in itertools.pairwise(prefixes))


@pytest.mark.parametrize("wrong", [{"min_probability": 0.0}, {"same_tokens": 0}, {"max_stopped": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DistinctLeaves(**wrong)
