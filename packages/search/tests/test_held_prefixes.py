"""Trees under way keep their prefixes: nothing is computed twice within a tree however small the cache."""

from __future__ import annotations

import asyncio
import copy
import zlib

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eduprm.forest import found_leaves, leaf_paths, token_counts
from eduprm.search import (
    Budget,
    EduSampling,
    HighTemperature,
    PrefixHolder,
    Request,
    TransformersEngine,
    grow_forest,
)
from eduprm.search.embedded.memory import PrefixCache

# Longer than a shared beginning that is computed again for want of a wait (see `prefill`), and all different.
PROMPTS = [tuple((7 * number + 11 * at + at * at) % 57 + 4 for at in range(40)) for number in range(24)]
STRATEGY = EduSampling(threshold=0.5, budget=Budget(max_leaves=6, max_tokens_per_path=16))


def grow(
    model, problems, letters, *, cache_tokens: int, count: int
) -> tuple[TransformersEngine, pl.DataFrame]:
    engine = TransformersEngine(
        copy.deepcopy(model), stop_ids=frozenset({3}), max_rows=8, cache_tokens=cache_tokens
    )
    growth = grow_forest(problems(PROMPTS[:count]), strategies=[STRATEGY], engine=engine, tokenizer=letters)
    assert not growth.rejected.height
    return engine, growth.forest


def needed(forest: pl.DataFrame) -> int:
    """Positions that must be computed once: every prompt, and every generated token but the last of each leaf."""
    counts = token_counts(forest)
    prompts = sum(map(len, PROMPTS[: len(counts)]))
    return prompts + int(counts["unique_tokens"].sum()) - int(counts["leaves"].sum())


@pytest.mark.parametrize(("count", "cache_tokens"), [(24, 65_536), (24, 400), (6, 80), (6, 0)])
def test_a_small_cache_computes_nothing_twice(tiny_model, plain, problems, letters, count, cache_tokens):
    engine, forest = grow(tiny_model, problems, letters, cache_tokens=cache_tokens, count=count)
    assert needed(forest) > 80 * count
    assert engine.num_prefilled + engine.num_decoded == needed(forest)
    # When all trees have ended, the cache is back within its bound.
    assert engine.num_held <= cache_tokens
    ordered = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"]).sort("order")
    for number in range(0, count, 5):
        mine = ordered.filter(problem_id=f"p{number}")["token_ids"].to_list()
        assert [tuple(ids) for ids in mine] == plain.edu(
            PROMPTS[number], threshold=0.5, max_leaves=6, max_tokens=16, best_first=True
        )


def test_a_full_cache_makes_new_trees_wait_and_never_for_ever(tiny_model, problems, letters):
    engine = TransformersEngine(
        copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=8, cache_tokens=200
    )
    most = 0

    def look(rows: pl.DataFrame) -> None:
        nonlocal most
        most = max(most, engine.num_held)

    grow_forest(
        problems(PROMPTS),
        strategies=[STRATEGY],
        engine=engine,
        tokenizer=letters,
        concurrency=24,
        on_tree=look,
    )
    # The eight that began together, in place of all that were asked for.
    largest = 40 + STRATEGY.budget.max_leaves * STRATEGY.budget.max_tokens_per_path
    assert 200 < most < 200 + 8 * largest / 2

    async def outer_waits_for_inner() -> None:
        with engine.hold("outer"):
            await engine.generate(Request(prefix_ids=PROMPTS[0] * 10, max_new_tokens=4, group="outer"))
            with engine.hold("inner"):
                await engine.generate(Request(prefix_ids=PROMPTS[1], max_new_tokens=4, group="inner"))

    asyncio.run(asyncio.wait_for(outer_waits_for_inner(), timeout=30))


def test_trees_of_one_problem_are_held_together(tiny_model, problems, letters):
    engine = TransformersEngine(
        copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=4, cache_tokens=50
    )
    assert isinstance(engine, PrefixHolder)
    samples = HighTemperature(num_samples=6, max_tokens_per_path=8)
    forest = grow_forest(
        problems(PROMPTS[:2]), strategies=[STRATEGY, samples], engine=engine, tokenizer=letters
    ).forest
    drawn = token_counts(forest.filter(tree="samples-0.7"))["path_tokens"]
    fed = needed(forest.filter(tree="edu")) + int(drawn.sum())
    # A sample feeds the prompt's last token itself and never its own last one: they cancel out.
    assert engine.num_prefilled + engine.num_decoded == fed


def test_a_group_that_is_not_held_is_bounded_as_before(tiny_model):
    engine = TransformersEngine(
        copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=4, cache_tokens=50
    )

    async def all_of_them() -> None:
        await asyncio.gather(
            *(engine.generate(Request(prefix_ids=p, max_new_tokens=8, group=str(p))) for p in PROMPTS)
        )

    asyncio.run(all_of_them())
    assert engine.num_held <= 50


def block(tokens: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor(tokens, dtype=torch.float32).reshape(1, 1, 1, -1, 1).expand(1, 2, 1, -1, 1)


def marks(tokens: tuple[int, ...]) -> tuple[int, ...]:
    """A value for each token that says what stands before it, as keys and values do."""
    return tuple(zlib.crc32(bytes(tokens[: at + 1])) & 0xFFFFF for at in range(len(tokens)))


def test_a_prefix_that_splits_a_run_is_found_again():
    # The lower half of the split run has a child that begins like the newcomer: not its place.
    cache = PrefixCache(max_tokens=100)
    for path in ((1, 2, 3, 4), (1, 2, 3, 4, 9, 9), (1, 2, 9, 7)):
        held, _ = cache.match(path)
        cache.insert(path, block(marks(path)[held:]))
    assert cache.match((1, 2, 9, 7))[0] == 4
    assert cache.match((1, 2, 3, 4, 9, 7))[0] == 5


@given(
    paths=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=9).map(tuple), min_size=1, max_size=14),
    max_tokens=st.sampled_from([0, 6, 15, 10_000]),
    data=st.data(),
)
def test_the_cache_gives_back_what_was_put_in(paths, max_tokens, data):
    cache = PrefixCache(max_tokens=max_tokens)
    pinned: dict[str, list[tuple[int, ...]]] = {}
    for number, path in enumerate(paths):
        held, blocks = cache.match(path)
        assert torch.equal(torch.cat([block(()), *blocks], dim=3), block(marks(path)[:held]))
        if max_tokens == 10_000:
            common = [len({*marks(path)} & {*marks(before)}) for before in paths[:number]]
            assert held == max(common, default=0)
        if held < len(path):
            cache.insert(path, block(marks(path)[held:]))
        if data.draw(st.booleans()):
            name = data.draw(st.sampled_from("abc"))
            cache.pin(path, name)
            pinned.setdefault(name, []).append(path)
        if data.draw(st.booleans()):
            name = data.draw(st.sampled_from("abc"))
            cache.unpin(name)
            pinned.pop(name, None)
        kept = [path for own in pinned.values() for path in own]
        assert all(cache.match(path)[0] == len(path) for path in kept)
        assert cache.num_pinned == len({path[:stop] for path in kept for stop in range(1, len(path) + 1)})


def test_pins_survive_splits_and_end_with_their_name():
    cache = PrefixCache(max_tokens=4)
    cache.insert((1, 2, 3, 4), block((1, 2, 3, 4)))
    cache.pin((1, 2, 9), "a")
    assert cache.num_pinned == 2
    cache.pin((1, 2, 3, 4), "b")
    assert cache.num_pinned == 4
    cache.insert((1, 5, 6), block((5, 6)))
    cache.insert((7, 8), block((7, 8)))
    assert cache.match((1, 2, 3, 4))[0] == 4
    cache.unpin("b")
    assert (cache.num_pinned, cache.match((1, 2))[0]) == (2, 2)
    cache.unpin("a")
    assert (cache.num_pinned, cache.num_tokens <= 4) == (0, True)
    cache.unpin("never pinned")


@pytest.mark.parametrize("held", [(1, 2, 3), (1, 2, 3, 4, 5)])
def test_what_is_pinned_keeps_its_values(held):
    cache = PrefixCache(max_tokens=3)
    cache.insert(held, block(held))
    cache.pin((1, 2, 3), "a")
    for other in range(10, 20):
        cache.insert((other, other, other), block((other, other, other)))
    length, blocks = cache.match((1, 2, 3))
    assert length == 3
    assert torch.equal(torch.cat(blocks, dim=3), block((1, 2, 3)))
