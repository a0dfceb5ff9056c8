"""EDU trees against a reference without caches, their budgets, and the shape of the forest they give."""

from __future__ import annotations

import copy

import numpy as np
import polars as pl
import pytest

from eduprm.forest import leaf_paths, token_counts, validate_forest
from eduprm.search import (
    Budget,
    EduSampling,
    Greedy,
    HighTemperature,
    PolicyTokenizer,
    TransformersEngine,
    grow_forest,
    leaf_order,
    resolve_model,
)
from eduprm.segment import entropy_anchors


def problems(prompts: list[tuple[int, ...]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "problem_id": [f"p{n}" for n in range(len(prompts))],
            "prompt_token_ids": [list(p) for p in prompts],
        },
        schema={"problem_id": pl.String, "prompt_token_ids": pl.List(pl.Int32)},
    )


PROMPTS = [(5, 6, 7), (9, 9), tuple(range(10, 40)), (33, 20, 41, 8)]


@pytest.fixture
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)


@pytest.mark.parametrize("order", ["best_first", "chronological"])
@pytest.mark.parametrize("threshold", [0.8, 1.6])
def test_trees_equal_a_reference_without_any_cache(engine, plain, letters, order, threshold):
    budget = Budget(max_leaves=7, max_tokens_per_path=14)
    strategy = EduSampling(threshold=threshold, order=order, budget=budget)
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, decoder=letters).forest
    validate_forest(forest)
    ordered = leaf_paths(forest).join(leaf_order(forest, order=order), on=["problem_id", "tree", "leaf"])
    for number, prompt in enumerate(PROMPTS):
        expected = plain.edu(
            prompt, threshold=threshold, max_leaves=7, max_tokens=14, best_first=order == "best_first"
        )
        mine = ordered.filter(problem_id=f"p{number}").sort("order")["token_ids"].to_list()
        assert [tuple(ids) for ids in mine] == expected
    assert (leaf_order(forest, order=order).group_by("problem_id").len()["len"] > 1).any()


def test_no_prefix_token_is_computed_twice_within_a_tree(engine, letters):
    strategy = EduSampling(threshold=0.8, budget=Budget(max_leaves=8, max_tokens_per_path=20))
    forest = grow_forest(problems(PROMPTS[2:3]), strategies=[strategy], engine=engine, decoder=letters).forest
    leaves = leaf_paths(forest)
    assert len(leaves) == 8
    # Each computed position is either prefilled once or fed to one step. All prompt tokens, and all
    # generated ones but the last of each leaf, whose successor nobody asked for.
    unique = token_counts(forest)["unique_tokens"].item()
    fed = engine.num_prefilled + engine.num_decoded
    skipped_ends = len(leaves)
    # A runner-up that ends its path at once is never fed and never asked for.
    assert fed == len(PROMPTS[2]) + unique - skipped_ends


def test_a_smaller_budget_gives_the_first_leaves_of_a_larger_one(engine, letters):
    def grow(leaves: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        strategy = EduSampling(threshold=0.8, budget=Budget(max_leaves=leaves, max_tokens_per_path=14))
        forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, decoder=letters).forest
        return leaf_paths(forest), leaf_order(forest)

    def first(leaves: pl.DataFrame, order: pl.DataFrame, count: int) -> list:
        joined = leaves.join(order, on=["problem_id", "tree", "leaf"]).filter(pl.col("order") < count)
        return joined.sort("problem_id", "order").select("problem_id", "token_ids").rows()

    assert first(*grow(8), 3) == first(*grow(3), 3)


def test_nodes_are_what_segmenting_the_path_gives(engine, letters):
    strategy = EduSampling(threshold=0.8, budget=Budget(max_leaves=6, max_tokens_per_path=16))
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, decoder=letters).forest
    lengths = {
        (row["problem_id"], row["node_id"]): len(row["token_ids"]) for row in forest.iter_rows(named=True)
    }
    for leaf in leaf_paths(forest).iter_rows(named=True):
        anchors = entropy_anchors(np.array(leaf["entropies"]), ["x"] * leaf["num_tokens"], threshold=0.8)
        ends = np.cumsum([lengths[leaf["problem_id"], node] for node in leaf["path"]])
        assert sorted({0, *anchors, leaf["num_tokens"]}) == sorted({0, *ends.tolist()})


def test_budgets_hold(engine, letters):
    budget = Budget(max_leaves=30, max_tokens_per_path=11, max_forks_per_path=2, max_total_tokens=50)
    strategy = EduSampling(threshold=0.3, budget=budget)
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, decoder=letters).forest
    assert leaf_paths(forest)["num_tokens"].max() <= 11
    assert token_counts(forest)["unique_tokens"].max() <= 50
    forks = forest.group_by("problem_id", "parent_id").len().filter(pl.col("len") == 2)
    forked = set(forks.select("problem_id", "parent_id").rows())
    per_path = [
        sum((leaf["problem_id"], node) in forked for node in leaf["path"])
        for leaf in leaf_paths(forest).iter_rows(named=True)
    ]
    assert max(per_path) == 2


def test_greedy_is_the_first_leaf_of_every_tree(engine, letters):
    strategies = [
        EduSampling(threshold=0.8, budget=Budget(max_leaves=5, max_tokens_per_path=12)),
        Greedy(threshold=0.8, max_tokens_per_path=12),
        HighTemperature(threshold=0.8, num_samples=4, max_tokens_per_path=12),
    ]
    forest = grow_forest(problems(PROMPTS), strategies=strategies, engine=engine, decoder=letters).forest
    validate_forest(forest)
    leaves = leaf_paths(forest)
    for problem in ("p0", "p1", "p2", "p3"):
        own = leaves.filter(problem_id=problem)
        greedy = own.filter(tree="greedy")["token_ids"].to_list()
        assert own.filter(tree="edu").sort("leaf")["token_ids"].to_list()[0] == greedy[0]
        assert len(own.filter(tree="ht-0.7")) == 4


def test_texts_join_to_the_text_of_the_path_across_split_characters(engine):
    class Bytes:
        """Tokens are single bytes of UTF-8, so most characters are spread over tokens."""

        data = "é€😀ü".encode()

        def decode(self, token_ids: list[int]) -> str:
            return bytes(self.data[t % len(self.data)] for t in token_ids).decode(errors="replace")

    decoder = Bytes()
    strategy = EduSampling(
        threshold=0.3, budget=Budget(max_leaves=6, max_tokens_per_path=16), skip_symbols=False
    )
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, decoder=decoder).forest
    for leaf in leaf_paths(forest).iter_rows(named=True):
        assert leaf["text"] == decoder.decode(leaf["token_ids"])


def test_a_prompt_that_does_not_fit_is_set_aside(engine, letters):
    growth = grow_forest(
        problems([(5, 6), (7,) * 700]), strategies=[Greedy()], engine=engine, decoder=letters
    )
    assert growth.forest["problem_id"].unique().to_list() == ["p0"]
    assert growth.rejected["problem_id"].to_list() == ["p1"]
    assert "700" in growth.rejected["reason"].item()


def test_two_strategies_of_one_name_are_refused(engine, letters):
    with pytest.raises(ValueError, match="different tree names"):
        grow_forest(problems(PROMPTS), strategies=[Greedy(), Greedy()], engine=engine, decoder=letters)


@pytest.mark.slow
def test_real_model_trees_equal_the_reference(plain_decoder_class):
    from transformers import AutoModelForCausalLM

    name = "smollm2-135m-instruct"
    tokenizer = PolicyTokenizer(name)
    reference = plain_decoder_class(
        AutoModelForCausalLM.from_pretrained(resolve_model(name)).eval(), frozenset({2})
    )
    engine = TransformersEngine.from_pretrained(name, device="cpu", max_rows=4)
    prompts = [
        tuple(tokenizer.encode_chat([{"role": "user", "content": f"Compute {a} * {b} * {c}."}]))
        for a, b, c in ((3, 4, 5), (7, 8, 2))
    ]
    strategy = EduSampling(
        threshold=1.0, skip_symbols=False, budget=Budget(max_leaves=4, max_tokens_per_path=16)
    )
    forest = grow_forest(problems(prompts), strategies=[strategy], engine=engine, decoder=tokenizer).forest
    ordered = leaf_paths(forest).join(leaf_order(forest), on=["problem_id", "tree", "leaf"]).sort("order")
    for number, prompt in enumerate(prompts):
        mine = [tuple(ids) for ids in ordered.filter(problem_id=f"p{number}")["token_ids"].to_list()]
        expected = reference.edu(prompt, threshold=1.0, max_leaves=4, max_tokens=16, best_first=True)
        for got, want in zip(mine, expected, strict=True):
            if got != want:
                # Only a tie may differ: the two choices are within 1e-4 of each other.
                at = next(i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b)
                top = reference.distribution(prompt + want[:at]).topk(2).values
                assert float(top[0] - top[1]) < 1e-4
                break
