"""Forks taken in rounds: one rule for search and replay, budgets to the token, no matter how fast an engine answers.

The engine is scripted (a fixed distribution for every prefix) and answers after waits of its own choosing.
"""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from eduprm.forest import FOUND_COLUMNS, found_leaves, leaf_paths, token_counts, validate_forest
from eduprm.search import Budget, Completion, EduSampling, Request, replayed, to_rows
from eduprm.search.cost import Meter
from eduprm.search.growth import forks_before
from eduprm.search.sglang.testing import STOP, distribution


class Letters:
    def decode(self, token_ids: list[int]) -> str:
        return "".join(chr(97 + token % 26) for token in token_ids)


class Scripted:
    """Greedy paths of `distribution`; an answer takes a random time, so that paths end in any order."""

    stop_ids = frozenset({STOP})
    context_length = 10_000

    def __init__(self, *, seed: int = 0, held: int | None = None) -> None:
        self._wait = np.random.default_rng(seed)
        self._held = held
        self.in_flight = self.most_in_flight = 0

    async def generate(self, request: Request) -> Completion:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        for _ in range(int(self._wait.integers(0, 20))):
            await asyncio.sleep(0)
        ids, rows = list(request.prefix_ids), []
        while len(rows) < request.max_new_tokens and not (rows and ids[-1] == STOP):
            logprobs = distribution(tuple(ids))
            first, second = (int(t) for t in np.argsort(-logprobs)[:2])
            entropy = float(-(np.exp(logprobs) * logprobs).sum())
            rows.append((first, logprobs[first], entropy, second, logprobs[second]))
            ids.append(first)
        self.in_flight -= 1
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        prefix = len(request.prefix_ids)
        return Completion(
            token_ids=columns[0].astype(np.int32),
            logprobs=columns[1].astype(np.float32),
            entropies=columns[2].astype(np.float32),
            runner_up_ids=columns[3].astype(np.int32),
            runner_up_logprobs=columns[4].astype(np.float32),
            finish="stop" if ids[-1] == STOP else "length",
            prefix_tokens=prefix,
            cached_tokens=prefix - 1 if self._held is None else self._held,
        )


def grow(strategy: EduSampling, *, prompt: tuple[int, ...] = (7, 8), engine: Scripted | None = None) -> list:
    return asyncio.run(
        strategy.grow(prompt, problem_id="p", engine=engine or Scripted(), tokenizer=Letters())
    )


BUDGETS = [
    Budget(max_leaves=9, max_tokens_per_path=14),
    Budget(max_leaves=9, max_tokens_per_path=14, max_total_tokens=45),
    Budget(max_leaves=30, max_tokens_per_path=9, max_total_tokens=70, max_forks_per_path=2),
    Budget(max_leaves=30, max_tokens_per_path=12, max_forks_per_path=1),
]


@pytest.mark.parametrize("parallel", [1, 2, 3, 8])
@pytest.mark.parametrize("order", ["best_first", "chronological"])
@pytest.mark.parametrize("budget", BUDGETS, ids=range(len(BUDGETS)))
def test_replay_finds_the_order_and_budgets_hold_to_the_token(parallel, order, budget):
    strategy = EduSampling(threshold=0.6, order=order, budget=budget, parallel_forks=parallel)
    for prompt in [(7, 8), (9, 30, 2), (1,)]:
        branches = grow(strategy, prompt=prompt)
        assert 1 < len(branches) <= budget.max_leaves
        rows = validate_forest(
            to_rows(
                branches,
                problem_id="p",
                tree="edu",
                cut=strategy.cut,
                tokenizer=Letters(),
                stop_ids=Scripted.stop_ids,
            )
        )
        # What a search wrote is what its rule, run again on the finished tree, says.
        assert replayed(rows.drop(FOUND_COLUMNS), strategy).equals(rows)
        ordered = leaf_paths(rows).join(found_leaves(rows), on=["problem_id", "tree", "leaf"]).sort("order")
        assert [tuple(ids) for ids in ordered["token_ids"].to_list()] == [b.path_ids() for b in branches]
        assert max(branch.stop for branch in branches) <= budget.max_tokens_per_path
        if budget.max_total_tokens is not None:
            assert token_counts(rows)["unique_tokens"].item() <= budget.max_total_tokens
        if budget.max_forks_per_path is not None:
            assert max(forks_before(b, b.stop) for b in branches) <= budget.max_forks_per_path


@pytest.mark.parametrize("budget", BUDGETS, ids=range(len(BUDGETS)))
def test_the_tree_depends_on_the_rule_and_not_on_the_engine_s_pace(budget):
    strategy = EduSampling(threshold=0.6, budget=budget, parallel_forks=4)
    engines = [Scripted(seed=seed) for seed in range(4)]
    paths = [[b.path_ids() for b in grow(strategy, engine=engine)] for engine in engines]
    assert paths[0] == paths[1] == paths[2] == paths[3]
    most = {engine.most_in_flight for engine in engines}
    # One fork a path leaves nothing to be taken at once.
    assert most == {1} if budget.max_forks_per_path == 1 else most <= {2, 3, 4}


def test_a_smaller_budget_gives_the_first_leaves_with_rounds_too():
    def paths(leaves: int) -> list:
        budget = Budget(max_leaves=leaves, max_tokens_per_path=14)
        return [b.path_ids() for b in grow(EduSampling(threshold=0.6, budget=budget, parallel_forks=3))]

    assert paths(9)[:6] == paths(6)
    assert paths(9)[:2] == paths(2)


def test_a_round_takes_the_best_that_wait_which_one_at_a_time_need_not():
    def paths(parallel: int) -> set:
        budget = Budget(max_leaves=8, max_tokens_per_path=14)
        return {
            b.path_ids() for b in grow(EduSampling(threshold=0.6, budget=budget, parallel_forks=parallel))
        }

    assert paths(1) != paths(8)


def test_costs_count_what_the_tree_had_computed_before():
    async def costs(held: int | None) -> Meter:
        meter = Meter(Scripted(held=held))
        strategy = EduSampling(threshold=0.6, budget=Budget(max_leaves=6, max_tokens_per_path=10))
        await strategy.grow((7, 8, 9), problem_id="p", engine=meter, tokenizer=Letters())
        return meter

    kept = asyncio.run(costs(None))
    assert kept.recomputed_tokens == 0
    assert kept.prefix_tokens - kept.cached_tokens == kept.requests
    # An engine that holds nothing computes all of a fork's prefix again but for its last token, which is new.
    lost = asyncio.run(costs(0))
    assert lost.recomputed_tokens == lost.prefix_tokens - 3 - (lost.requests - 1)
    # Two samples from one prompt: the second's prompt was known, its last token included.
    meter = Meter(Scripted(held=2))

    async def twice() -> None:
        await asyncio.gather(
            *(meter.generate(Request(prefix_ids=(7, 8, 9), max_new_tokens=4)) for _ in range(2))
        )

    asyncio.run(twice())
    assert meter.recomputed_tokens == 1
