"""EDU trees against a reference without caches, their budgets, and the shape of the forest they give."""

from __future__ import annotations

import copy

import numpy as np
import polars as pl
import pytest

from eduprm.forest import found_leaves, leaf_paths, token_counts, validate_forest
from eduprm.search import (
    Branch,
    Budget,
    EduSampling,
    Greedy,
    HighTemperature,
    TransformersEngine,
    grow_forest,
)
from eduprm.search.growth import forks_before
from eduprm.search.strategies.distinct_leaves import _logprob
from eduprm.segment import entropy_anchors

PROMPTS = [(5, 6, 7), (9, 9), tuple(range(10, 40)), (33, 20, 41, 8)]


@pytest.fixture
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)


@pytest.mark.parametrize("order", ["best_first", "chronological"])
@pytest.mark.parametrize("threshold", [0.8, 1.6])
def test_trees_equal_a_reference_without_any_cache(engine, problems, plain, letters, order, threshold):
    budget = Budget(max_leaves=7, max_tokens_per_path=14)
    strategy = EduSampling(threshold=threshold, order=order, budget=budget)
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters).forest
    validate_forest(forest)
    ordered = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"])
    for number, prompt in enumerate(PROMPTS):
        expected = plain.edu(
            prompt, threshold=threshold, max_leaves=7, max_tokens=14, best_first=order == "best_first"
        )
        mine = ordered.filter(problem_id=f"p{number}").sort("order")["token_ids"].to_list()
        assert [tuple(ids) for ids in mine] == expected
    assert (found_leaves(forest).group_by("problem_id").len()["len"] > 1).any()


def test_no_prefix_token_is_computed_twice_within_a_tree(engine, problems, letters):
    strategy = EduSampling(threshold=0.8, budget=Budget(max_leaves=8, max_tokens_per_path=20))
    forest = grow_forest(
        problems(PROMPTS[2:3]), strategies=[strategy], engine=engine, tokenizer=letters
    ).forest
    leaves = leaf_paths(forest)
    assert len(leaves) == 8
    # Each computed position is either prefilled once or fed to one step. All prompt tokens, and all
    # generated ones but the last of each leaf, whose successor nobody asked for.
    unique = token_counts(forest)["unique_tokens"].item()
    fed = engine.num_prefilled + engine.num_decoded
    skipped_ends = len(leaves)
    # A runner-up that ends its path at once is never fed and never asked for.
    assert fed == len(PROMPTS[2]) + unique - skipped_ends


def test_a_smaller_budget_gives_the_first_leaves_of_a_larger_one(engine, problems, letters):
    def grow(leaves: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        strategy = EduSampling(threshold=0.8, budget=Budget(max_leaves=leaves, max_tokens_per_path=14))
        forest = grow_forest(
            problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters
        ).forest
        return leaf_paths(forest), found_leaves(forest)

    def first(leaves: pl.DataFrame, order: pl.DataFrame, count: int) -> list:
        joined = leaves.join(order, on=["problem_id", "tree", "leaf"]).filter(pl.col("order") < count)
        return joined.sort("problem_id", "order").select("problem_id", "token_ids").rows()

    assert first(*grow(8), 3) == first(*grow(3), 3)


def test_nodes_are_what_segmenting_the_path_gives(engine, problems, letters):
    strategy = EduSampling(threshold=0.8, budget=Budget(max_leaves=6, max_tokens_per_path=16))
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters).forest
    lengths = {
        (row["problem_id"], row["node_id"]): len(row["token_ids"]) for row in forest.iter_rows(named=True)
    }
    for leaf in leaf_paths(forest).iter_rows(named=True):
        anchors = entropy_anchors(np.array(leaf["entropies"]), ["x"] * leaf["num_tokens"], threshold=0.8)
        ends = np.cumsum([lengths[leaf["problem_id"], node] for node in leaf["path"]])
        assert sorted({0, *anchors, leaf["num_tokens"]}) == sorted({0, *ends.tolist()})


def test_a_stop_token_is_a_choice_and_other_tokens_without_text_are_symbols(engine, problems, plain):
    class Texts:
        """Every third token is a symbol, special tokens have no text; 3 is the engine's stop token."""

        def decode(self, token_ids: list[int]) -> str:
            return "".join("" if t <= 3 else ", " if t % 3 == 0 else chr(97 + t % 26) for t in token_ids)

    def may_fork(token: int) -> bool:
        return token == 3 or (token > 3 and token % 3 != 0)

    prompts = [(token, token + 7) for token in range(5, 45)]
    budget = Budget(max_leaves=6, max_tokens_per_path=14)
    strategy = EduSampling(threshold=0.8, budget=budget)
    forest = grow_forest(problems(prompts), strategies=[strategy], engine=engine, tokenizer=Texts()).forest
    validate_forest(forest)
    ordered = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"]).sort("order")
    for number, prompt in enumerate(prompts):
        expected = plain.edu(
            prompt, threshold=0.8, max_leaves=6, max_tokens=14, best_first=True, may_fork=may_fork
        )
        mine = ordered.filter(problem_id=f"p{number}")["token_ids"].to_list()
        assert [tuple(ids) for ids in mine] == expected
    first = forest["token_ids"].list.first()
    # Cut before a stop token, as a node of its own; forked there, if it was its turn.
    ends = forest.filter(first == 3, pl.col("parent_id").is_not_null())
    assert set(ends["text"]) == {""}
    forked = ends.join(forest, on=["problem_id", "parent_id"]).group_by("problem_id", "parent_id").len()
    assert (forked["len"] == 2).sum() >= 5
    # Cut nowhere else where the greedy token has no text of its own.
    greedy = forest.filter(pl.col("parent_id").is_not_null()).group_by("problem_id", "parent_id").first()
    heads = greedy["token_ids"].list.first().to_list()
    assert heads
    assert all(may_fork(token) for token in heads)


def test_budgets_hold(engine, problems, letters):
    budget = Budget(max_leaves=30, max_tokens_per_path=11, max_forks_per_path=2, max_total_tokens=50)
    strategy = EduSampling(threshold=0.3, budget=budget)
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters).forest
    assert leaf_paths(forest)["num_tokens"].max() <= 11
    assert token_counts(forest)["unique_tokens"].max() <= 50
    forks = forest.group_by("problem_id", "parent_id").len().filter(pl.col("len") == 2)
    forked = set(forks.select("problem_id", "parent_id").rows())
    per_path = [
        sum((leaf["problem_id"], node) in forked for node in leaf["path"])
        for leaf in leaf_paths(forest).iter_rows(named=True)
    ]
    assert max(per_path) == 2


def test_every_strategy_keeps_to_a_total_of_tokens(engine, problems, letters):
    def paths(strategy, problem: str = "p2") -> list[list[int]]:
        forest = grow_forest(
            problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters
        ).forest
        return leaf_paths(forest).filter(problem_id=problem).sort("leaf")["token_ids"].to_list()

    free = paths(HighTemperature(temperature=1.5, num_samples=8, max_tokens_per_path=12))
    lengths = [len(path) for path in free]
    cap = sum(lengths[:5]) + 2
    capped = paths(
        HighTemperature(temperature=1.5, num_samples=8, max_tokens_per_path=12, max_total_tokens=cap)
    )
    # The samples of the uncapped draw in turn, the one that crosses the cap cut short.
    assert capped == [*free[:5], free[5][:2]]
    assert len(paths(Greedy(max_tokens_per_path=12, max_total_tokens=5))[0]) == 5
    assert len(paths(Greedy(max_tokens_per_path=4, max_total_tokens=5))[0]) == 4


def test_greedy_is_the_first_leaf_of_every_tree(engine, problems, letters):
    strategies = [
        EduSampling(threshold=0.8, budget=Budget(max_leaves=5, max_tokens_per_path=12)),
        Greedy(threshold=0.8, max_tokens_per_path=12),
        HighTemperature(threshold=0.8, num_samples=4, max_tokens_per_path=12),
    ]
    forest = grow_forest(problems(PROMPTS), strategies=strategies, engine=engine, tokenizer=letters).forest
    validate_forest(forest)
    leaves = leaf_paths(forest)
    for problem in ("p0", "p1", "p2", "p3"):
        own = leaves.filter(problem_id=problem)
        greedy = own.filter(tree="greedy")["token_ids"].to_list()
        assert own.filter(tree="edu").sort("leaf")["token_ids"].to_list()[0] == greedy[0]
        assert len(own.filter(tree="samples-0.7")) == 4


def test_a_branch_may_be_the_thousandth_to_leave_another():
    one = np.ones(2, np.int32)
    path: Branch | None = None
    for start in range(3000):
        if path is not None:
            path.forks.append(start)
        path = Branch(
            parent=path, start=start, token_ids=one * start, logprobs=-one.astype(np.float32),
            entropies=one.astype(np.float32), runner_up_ids=one, runner_up_logprobs=-one.astype(np.float32),
            finish="length",
        )  # fmt: skip
    assert path is not None
    assert path.path_ids() == (*range(3000), 2999)
    assert path.path_ids(5) == (0, 1, 2, 3, 4)
    assert (forks_before(path, 3001), forks_before(path, 10)) == (2999, 9)
    assert _logprob(path, 3001) == -3001
