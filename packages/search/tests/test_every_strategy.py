"""What holds for the trees of every strategy of the folder that has a budget, on policies that are hashes."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.core import registry
from eduprm.forest import found_leaves, leaf_paths, validate_forest
from eduprm.search import Budget, grow_forest

PACKAGE = "eduprm.search.strategies"
PROMPTS = [(7, 7), (5,)]


def with_budget() -> list[str]:
    made = {name: registry.load(PACKAGE, name, "Strategy") for name in registry.names(PACKAGE)}
    return [name for name, choice in made.items() if "budget" in choice.model_fields]


@pytest.fixture(scope="module")
def grown(hashed_policy, hashed_score, problems, letters):
    """Forest, its leaves in the order found, costs and the engine, of one strategy on two problems."""

    async def scorer(problem_id, prefixes):
        assert all(prefixes), "a PRM has nothing to score before the first token"
        return [hashed_score(ids) for ids in prefixes]

    async def grader(problem_id, texts):
        return [hashed_score(text) > 0.5 for text in texts]

    def run(name, seed, **caps):
        choice = registry.load(PACKAGE, name, "Strategy")
        own = {"scorer": scorer, "grader": grader, "rollouts": 2, "piece_tokens": 3}
        options = {key: value for key, value in own.items() if key in choice.model_fields}
        strategy = choice(threshold=2.0, budget=Budget(**caps), **options)
        policy = hashed_policy(seed)
        growth = grow_forest(problems(PROMPTS), strategies=[strategy], engine=policy, tokenizer=letters)
        validate_forest(growth.forest)
        keys = ["problem_id", "tree", "leaf"]
        leaves = leaf_paths(growth.forest).join(found_leaves(growth.forest), on=keys)
        return growth, leaves.sort("problem_id", "order"), policy

    return run


def most_forks(forest: pl.DataFrame) -> int:
    """Most nodes with several children on a path; an empty root is the prompt's end."""
    most = 0
    for _, nodes in forest.group_by("problem_id", "tree"):
        parents, lengths = nodes["parent_id"].to_list(), nodes["token_ids"].list.len().to_list()
        above: list[int] = []
        for node, parent in enumerate(parents):
            own = parents.count(node) > 1 and lengths[node] > 0
            above.append(own + (0 if parent is None else above[parent]))
        most = max(most, *above)
    return most


@pytest.mark.parametrize("name", with_budget())
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    max_leaves=st.integers(3, 8),
    max_tokens=st.integers(2, 12),
    max_forks=st.none() | st.integers(0, 4),
    max_total=st.none() | st.integers(4, 60),
)
def test_budgets_hold(grown, name, seed, max_leaves, max_tokens, max_forks, max_total):
    growth, leaves, policy = grown(
        name, seed, max_leaves=max_leaves, max_tokens_per_path=max_tokens, max_forks_per_path=max_forks,
        max_total_tokens=max_total,
    )  # fmt: skip
    solutions = leaves.filter(pl.col("finish") != "pruned")
    assert solutions["problem_id"].n_unique() == len(PROMPTS)
    assert solutions.group_by("problem_id").len()["len"].max() <= max_leaves
    assert leaves["token_ids"].list.len().max() <= max_tokens
    assert max_forks is None or most_forks(growth.forest) <= max_forks
    # Every token of a tree was decoded, but for runner-ups, which are known; nothing that was decoded is left out.
    assert growth.costs["unique_tokens"].max() <= (max_total or 10**9)
    assert growth.forest["token_ids"].list.len().sum() == growth.costs["unique_tokens"].sum()
    assert 0 <= growth.costs["unique_tokens"].sum() - policy.decoded < leaves.height
    # A path ends for the reason that is given.
    for ids, finish in solutions.select("token_ids", "finish").iter_rows():
        assert (finish == "stop") == (ids[-1] == 0)


@pytest.mark.parametrize("name", with_budget())
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), few=st.integers(3, 5))
def test_a_smaller_budget_finds_the_first_of_the_solutions(grown, name, seed, few):
    caps = {"max_tokens_per_path": 10}
    _, large, policy = grown(name, seed, max_leaves=9, **caps)
    small_growth, small, _ = grown(name, seed, max_leaves=few, **caps)
    assert grown(name, seed, max_leaves=few, **caps)[0].forest.equals(small_growth.forest)
    for number, prompt in enumerate(PROMPTS):
        found, all_found = (
            own.filter(pl.col("finish") != "pruned", problem_id=f"p{number}")["token_ids"].to_list()
            for own in (small, large)
        )
        assert found == all_found[:few]
        # What is called greedy is the greedy path, and it is called so wherever a strategy that draws nothing finds it.
        greedy = large.filter("greedy", problem_id=f"p{number}")["token_ids"].to_list()
        assert greedy in ([], [list(policy.follow(prompt, 10))])
        if name not in ("particle", "omega_prm"):
            assert bool(greedy) == (list(policy.follow(prompt, 10)) in all_found)
