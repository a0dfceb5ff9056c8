"""Forks decoded again without a server's prefix cache, against servers that misbehave in one way each."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import polars as pl
import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.search import Budget, EduSampling, HighTemperature
from eduprm.search.grow import grow_forest_async
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.cache_check import GrownFork, check_forks, pick_forks
from eduprm.search.sglang.testing import Letters, ScriptedServer, distribution, scripted_model

pytestmark = pytest.mark.filterwarnings("ignore:the SGLang server ignores the seeds")

QUICK = RetrySettings(attempts=2, first_wait_s=0.01, longest_wait_s=0.02, patience_s=0.3)
EDU = EduSampling(threshold=1.0, budget=Budget(max_leaves=6, max_tokens_per_path=12))
PROMPTS = {f"p{n}": [5 + n, 7, 9] for n in range(6)}
PROBLEMS = pl.DataFrame(list(PROMPTS.items()), schema=["problem_id", "prompt_token_ids"], orient="row")


@pytest.fixture
def model(tmp_path):
    return scripted_model(tmp_path)


def pick(forest: pl.DataFrame, count: int, *, seed: int = 0, parts: int = 1) -> list[GrownFork]:
    names = [[f"p{n}" for n in range(6) if n % parts == part] for part in range(parts)]
    frames = [forest.filter(pl.col("problem_id").is_in(part)) for part in names]
    return pick_forks(frames, trees=["edu"], prompts=PROMPTS, count=count, seed=seed)


def check(model: str, fault: Any = None, *, count: int = 8, growing: Any = None, **options: Any):
    """(facts, forest, server, forks): trees grown, then `count` forks checked while the server has this fault."""

    async def go():
        async with ScriptedServer() as server:
            client = SglangServer(server.url, model=model, served_as="tiny", retry=QUICK, **options)
            async with client:
                server.fault = growing or server.fault
                growth = await grow_forest_async(
                    PROBLEMS,
                    strategies=[EDU, HighTemperature(num_samples=2)],
                    engine=client,
                    tokenizer=Letters(),
                )
                server.fault = fault or (lambda body, number: None)
                forks = pick(growth.forest, count)
                facts = await check_forks(forks, client)
            return facts, growth.forest, server, forks

    return asyncio.run(go())


def test_a_server_that_answers_alike_shows_no_difference(model):
    facts, *_ = check(model)
    assert (facts["checked"], facts["unanswered"], facts["cached_anyway"]) == (8, 0, 0)
    for name in ("against_tree", "against_cache"):
        assert facts[name]["differ"] == []
        assert facts[name]["tokens"] > 8
        assert facts[name]["entropy_max_nats"] == facts[name]["entropy_median_nats"] == 0.0
    # The second decoding was allowed the cache, the first was not.
    assert facts["reused_tokens"] == facts["prefix_tokens"] - 8


def test_forks_are_chosen_by_a_hash_and_hold_what_was_asked_and_answered(model):
    _, forest, server, forks = check(model)
    assert {fork.tree for fork in forks} == {"edu"}
    for fork in forks:
        assert fork.prefix_ids in server.seen
        ids = list(fork.prefix_ids)
        for token in fork.token_ids.tolist():
            assert token == int(distribution(tuple(ids)).argmax())
            ids.append(token)
        # The prefix ends with a token that the policy put second.
        ranked = np.argsort(-distribution(fork.prefix_ids[:-1]))
        assert fork.prefix_ids[-1] == ranked[1]
        assert len(ids) - 3 <= 12

    def named(found: list[GrownFork]) -> list[tuple]:
        return [(fork.problem_id, fork.node_id) for fork in found]

    assert named(forks) == named(pick(forest, 8, parts=3))
    assert named(pick(forest, 3)) == named(forks)[:3]
    assert named(pick(forest, 8, seed=1)) != named(forks)
    # Every request of a fork can be chosen, and nothing else.
    asked = {ids for ids in server.seen if len(ids) > 3}
    assert {fork.prefix_ids for fork in pick(forest, 1000)} == asked


def test_a_cache_that_changes_continuations_is_found_with_its_margin(model):
    def other(body: dict, number: int) -> dict | None:
        if "extra_key" in body or len(body["input_ids"]) <= 3:
            return None
        second = int(np.argsort(-distribution(tuple(body["input_ids"])))[1])
        full = ScriptedServer()._answer(body, tuple(body["input_ids"]))
        return {**full, "output_ids": [second, *full["output_ids"][1:]]}

    facts, *_, forks = check(model, other)
    assert facts["against_tree"]["differ"] == []
    found = facts["against_cache"]["differ"]
    assert len(found) == facts["checked"] == 8
    for fork, one in zip(forks, found, strict=True):
        top = np.sort(distribution(fork.prefix_ids))[::-1]
        assert (one["problem_id"], one["node_id"], one["token"]) == (fork.problem_id, fork.node_id, 0)
        assert one["margin_nats"] == pytest.approx(top[0] - top[1], abs=1e-5)
    # Behind the first difference nothing is compared: the tokens before are others.
    assert facts["against_cache"]["tokens"] == 8

    # The same server while the trees grow: now the trees are what differs.
    facts, *_ = check(
        model, growing=lambda body, number: other(body, number) if body["input_ids"][0] else None
    )
    assert len(facts["against_tree"]["differ"]) == 8
    assert facts["against_cache"]["differ"] == []


def test_entropies_that_the_cache_changes_are_found(model):
    def off(body: dict, number: int) -> dict | None:
        if "extra_key" in body:
            return None
        full = ScriptedServer()._answer(body, tuple(body["input_ids"]))
        meta = full["meta_info"]
        return {"meta_info": {**meta, "entropy": [value + 0.25 for value in meta["entropy"]]}}

    facts, *_ = check(model, off)
    assert facts["against_cache"]["differ"] == []
    assert facts["against_cache"]["entropy_max_nats"] == pytest.approx(0.25, abs=1e-5)
    assert facts["against_tree"]["entropy_max_nats"] == 0.0


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        # A server that knows no extra_key and answers from its cache.
        (
            lambda body, number: {
                "meta_info": {
                    **ScriptedServer()._answer(body, tuple(body["input_ids"]))["meta_info"],
                    "cached_tokens": 2,
                }
            },
            "cached_anyway",
        ),
        (lambda body, number: web.Response(status=503), "unanswered"),
        (lambda body, number: web.json_response({"error": "no"}, status=400), "unanswered"),
    ],
)
def test_what_could_not_be_checked_is_counted_and_not_compared(model, fault, name):
    facts, *_ = check(model, lambda body, number: fault(body, number) if "extra_key" in body else None)
    assert (facts["checked"], facts[name]) == (0, 8)
    assert facts["against_tree"] == facts["against_cache"]
    assert facts["against_tree"]["entropy_max_nats"] is None


def test_a_request_sent_again_has_an_extra_key_of_its_own_and_shares_no_post(model):
    keys: list[str] = []
    bodies: list[dict] = []

    def once(body: dict, number: int) -> web.Response | None:
        if "extra_key" not in body:
            return None
        keys.append(body["extra_key"])
        bodies.append(body)
        return web.Response(status=503) if len(keys) % 2 else None

    facts, *_, forks = check(model, once, post_prefixes=4)
    assert facts["checked"] == 8
    assert len(set(keys)) == len(keys) == 16
    assert [tuple(body["input_ids"]) for body in bodies[::2]] == [fork.prefix_ids for fork in forks]
