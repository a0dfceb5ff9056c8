"""How the SGLang client sends: bounded, waiting between tries, several prefixes in one POST."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import polars as pl
import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.forest import leaf_paths
from eduprm.search import Budget, EduSampling
from eduprm.search.contract import EngineMismatchError, Request, RequestError, TransientError
from eduprm.search.grow import Job, grow_trees
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.testing import (
    Letters,
    ScriptedServer,
    grow_scripted,
    hang,
    scripted_model,
    scripted_problems,
)


@pytest.fixture
def model(tmp_path):
    return scripted_model(tmp_path / "tiny")


@pytest.fixture
def whole(model) -> pl.DataFrame:
    return grow_scripted(model, ScriptedServer())[0].forest


def test_many_problems_stream_through_bounded_memory_and_bounded_requests(model):
    taken, handed, waiting_most = 0, 0, 0

    def jobs():
        nonlocal taken
        for name, ids in scripted_problems(1500):
            taken += 1
            yield Job(
                name, ids, EduSampling(threshold=1.0, budget=Budget(max_leaves=2, max_tokens_per_path=4))
            )

    async def go() -> ScriptedServer:
        nonlocal handed, waiting_most
        async with (
            ScriptedServer() as server,
            SglangServer(server.url, model=model, max_requests=16) as client,
        ):
            async for grown in grow_trees(jobs(), engine=client, tokenizer=Letters(), concurrency=24):
                handed += 1
                assert grown.rows is not None
                waiting_most = max(waiting_most, taken - handed)
        return server

    server = asyncio.run(go())
    assert handed == taken == 1500
    # Growing, finished and not yet taken, and one at hand: never more, however many problems there are.
    assert waiting_most <= 2 * 24
    assert server.most_in_flight == 16


def test_forks_of_one_tree_are_on_their_way_at_once(model):
    def most(parallel: int) -> int:
        server = ScriptedServer()
        strategy = EduSampling(
            threshold=0.5, parallel_forks=parallel, budget=Budget(max_leaves=16, max_tokens_per_path=12)
        )
        growth, _ = grow_scripted(model, server, count=1, strategies=[strategy])
        assert len(leaf_paths(growth.forest)) == 16
        return server.most_in_flight

    assert (most(1), most(5)) == (1, 5)


def test_importing_and_using_the_client_loads_neither_torch_nor_sglang(model):
    code = (
        "import asyncio, sys\n"
        "from eduprm.search.sglang import SglangServer\n"
        "from eduprm.search import Request, grow_forest, EduSampling\n"
        f"client = SglangServer('http://127.0.0.1:9', model={model!r}, start_wait_s=0.01)\n"
        "try:\n    asyncio.run(client.__aenter__())\nexcept RuntimeError as error:\n    print(type(error).__name__)\n"
        "print([m for m in ('torch', 'sglang', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["EngineMismatchError", "[]"]


def _waits(settings, key):
    return [settings.wait_s(attempt, key, 3) for attempt in range(1, 6)]


def test_waits_grow_and_repeat_and_differ_between_requests():
    settings = RetrySettings(attempts=6, first_wait_s=1.0, longest_wait_s=8.0)
    mine, others = _waits(settings, "p"), _waits(settings, "q")
    assert mine == _waits(settings, "p")
    assert mine != others
    for wait, base in zip(mine, (1, 2, 4, 8, 8), strict=True):
        assert base / 2 <= wait <= base * 1.5


def test_a_client_outside_its_block_says_so(model):
    client = SglangServer("http://127.0.0.1:9", model=model)
    with pytest.raises(RuntimeError, match="async with"):
        asyncio.run(client.generate(Request(prefix_ids=(1,), max_new_tokens=1)))


def test_errors_of_one_engine_are_three_kinds():
    # What decides whether a tree is asked for again: refused for good, later, or never with this engine.
    assert not issubclass(RequestError, TransientError)
    assert not issubclass(EngineMismatchError, (RequestError, TransientError))


def posted(model: str, server: ScriptedServer, **options) -> tuple:
    return grow_scripted(model, server, post_prefixes=4, gather_s=0.002, **options)


def test_several_prefixes_in_one_post_grow_the_same_trees(model, whole):
    server = ScriptedServer()
    growth, client = posted(model, server)
    assert growth.forest.equals(whole)
    assert (growth.costs["requests"].sum() + 1, client.num_retries) == (sum(server.seen.values()), 0)
    assert set(server.seen.values()) == {1}
    assert server.posts < 0.6 * sum(server.seen.values())


@pytest.mark.parametrize(
    "answer", [lambda: web.Response(status=503), lambda: "drop", lambda: hang()], ids=["503", "lost", "hangs"]
)
def test_a_post_that_fails_is_sent_again_for_all_of_its_prefixes(model, whole, answer):
    server = ScriptedServer()
    failed: list[tuple[int, ...]] = []

    def fault(body, number):
        if number == 1 and len(body["input_ids"]) == 3 and not failed:
            failed.append(tuple(body["input_ids"]))
            return answer()
        return None

    server.fault = fault
    growth, client = posted(model, server, timeout_s=2.0)
    assert growth.forest.equals(whole)
    assert growth.rejected.is_empty()
    # The neighbours of the one that failed were sent again with it, the others not.
    twice = [prefix for prefix, count in server.seen.items() if count == 2]
    assert failed[0] in twice
    assert len(twice) == client.num_retries <= 4
    assert set(server.seen.values()) <= {1, 2}


def test_a_refused_prefix_does_not_take_those_of_its_post_along(model, whole):
    server = ScriptedServer()
    refused = lambda: web.Response(status=400, text="longer than the model's context")  # noqa: E731
    server.fault = lambda body, number: refused() if body["input_ids"][0] == 7 else None
    growth, client = posted(model, server)
    assert growth.rejected.select("problem_id", "transient").rows() == [("p2", False)]
    assert growth.forest.equals(whole.filter(pl.col("problem_id") != "p2"))
    assert client.num_retries == 0


def test_another_number_of_answers_than_of_prefixes_is_no_answer(model):
    server = ScriptedServer()

    async def short(request: web.Request) -> web.Response:
        return web.json_response([])

    many = server._generate_several
    server._generate_several = lambda request, body: (
        short(request) if server.posts == 2 else many(request, body)
    )
    growth, client = posted(model, server)
    assert growth.rejected.is_empty()
    assert client.num_retries > 0
    with pytest.raises(ValueError, match="post_prefixes of at least 1"):
        SglangServer("http://127.0.0.1:9", model=model, post_prefixes=0)
