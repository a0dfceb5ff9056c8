"""The SGLang client against a server on loopback that fails in every way one at a time, and against the wire's rules.

The server here speaks SGLang's routes with scripted numbers, so that faults come exactly when they are wanted; the real
SGLang is in tests/sglang.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.forest import ForestError, leaf_paths, validate_forest
from eduprm.search import Budget, EduSampling, Greedy, HighTemperature, grow_forest
from eduprm.search.contract import EngineMismatchError, Request, RequestError, TransientError
from eduprm.search.grow import Job, grow_trees
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.testing import Letters, ScriptedServer, scripted_model

QUICK = RetrySettings(attempts=4, first_wait_s=0.01, longest_wait_s=0.02)


@pytest.fixture
def model(tmp_path):
    return scripted_model(tmp_path / "tiny")


def problems(count: int) -> list[tuple[str, list[int]]]:
    return [(f"p{n}", [5 + n % 30, 7, 9 + n // 30]) for n in range(count)]


def grow(model: str, server: ScriptedServer, *, count: int = 6, strategies=None, **options) -> tuple:
    """(growth, client): trees of `count` problems through the client."""
    from eduprm.search.grow import grow_forest_async

    frame = pl.DataFrame(problems(count), schema=["problem_id", "prompt_token_ids"], orient="row")

    async def go() -> tuple:
        async with server:
            client = SglangServer(server.url, model=model, **{"retry": QUICK, **options})
            async with client:
                growth = await grow_forest_async(
                    frame,
                    strategies=strategies
                    or [EduSampling(threshold=1.0, budget=Budget(max_leaves=6, max_tokens_per_path=12))],
                    engine=client,
                    tokenizer=Letters(),
                    concurrency=8,
                )
            return growth, client

    return asyncio.run(go())


@pytest.fixture
def whole(model) -> pl.DataFrame:
    return grow(model, ScriptedServer())[0].forest


# ---- what can help is tried again, and the trees are the same -------------------------------------------


def failing_once(answer: object) -> Callable:
    return lambda body, number: answer if number == 1 and len(body["input_ids"]) > 1 else None


async def hang() -> None:
    await asyncio.sleep(30)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500, text="scheduler died"),
        lambda: web.Response(status=503, text="no worker"),
        lambda: web.Response(status=429, text="queue is full"),
        lambda: web.Response(status=200, text='{"output_ids": [1, 2'),
        lambda: "drop",
        lambda: {"meta_info": {"finish_reason": {"type": "abort", "message": "out of cache"}}},
        lambda: hang(),
    ],
    ids=["500", "503", "429", "cut short", "connection lost", "aborted", "hangs"],
)
def test_every_request_failing_once_changes_nothing_but_the_count_of_retries(model, whole, answer):
    server = ScriptedServer()
    server.fault = lambda body, number: answer() if number == 1 and len(body["input_ids"]) > 1 else None
    # Long enough for a busy machine, short enough for the one that hangs.
    growth, client = grow(model, server, count=3, timeout_s=2.0)
    whole = whole.filter(pl.col("problem_id").is_in(["p0", "p1", "p2"]))
    assert growth.forest.equals(whole)
    assert growth.rejected.is_empty()
    assert client.num_retries == sum(1 for prefix in server.seen if len(prefix) > 1)
    assert set(server.seen.values()) <= {1, 2}


def test_what_keeps_failing_sets_its_tree_aside_and_no_half_tree_comes_out(model, whole):
    server = ScriptedServer()
    # Problem p1's forks fail, its greedy path does not: half of a tree is known when it is given up.
    server.fault = lambda body, number: (
        web.Response(status=500, text="boom")
        if body["input_ids"][0] == 6 and len(body["input_ids"]) > 3
        else None
    )
    growth, _ = grow(model, server)
    row = growth.rejected.row(0, named=True)
    assert (growth.rejected.height, row["problem_id"], row["transient"]) == (1, "p1", True)
    assert "500" in row["reason"]
    assert "boom" in row["reason"]
    assert "4 attempts" in row["reason"]
    assert growth.forest.equals(whole.filter(pl.col("problem_id") != "p1"))
    assert growth.costs["problem_id"].to_list() == ["p0", "p2", "p3", "p4", "p5"]
    # Asked again later, exactly that tree comes.
    again, _ = grow(model, ScriptedServer())
    assert again.forest.filter(problem_id="p1").equals(whole.filter(problem_id="p1"))


def test_a_prompt_that_the_server_refuses_is_set_aside_for_good_after_one_sending(model):
    server = ScriptedServer()
    refused = web.json_response({"error": {"message": "longer than the model's context"}}, status=400)
    server.fault = lambda body, number: refused if body["input_ids"][0] == 7 else None
    growth, _ = grow(model, server)
    row = growth.rejected.row(0, named=True)
    assert (row["problem_id"], row["transient"]) == ("p2", False)
    assert "context" in row["reason"]
    assert server.seen[7, 7, 9] == 1


def test_a_request_beyond_the_server_s_own_limit_is_not_even_sent(model):
    server = ScriptedServer(context=14)
    growth, _ = grow(model, server, strategies=[Greedy(max_tokens_per_path=12)])
    assert growth.rejected.height == 6
    assert not growth.rejected["transient"].any()
    assert "limit of 14" in growth.rejected["reason"][0]
    assert sum(server.seen.values()) == 1  # the question at the start


def test_a_path_cut_short_without_a_word_is_refused(model):
    server = ScriptedServer()
    server.fault = lambda body, number: (
        body["sampling_params"].update(max_new_tokens=4) if body["input_ids"][0] == 5 else None
    )
    growth, _ = grow(model, server, strategies=[Greedy(max_tokens_per_path=12)])
    assert growth.rejected["problem_id"].to_list() == ["p0"]
    assert "after 4 of 12 tokens" in growth.rejected["reason"][0]


def test_a_server_that_dies_is_not_waited_for_problem_by_problem(model):
    async def go() -> tuple[list, SglangServer]:
        server = ScriptedServer()
        await server.__aenter__()
        slow = RetrySettings(attempts=6, first_wait_s=0.05, patience_s=0.3)
        async with SglangServer(server.url, model=model, retry=slow) as client:
            await server.__aexit__()
            jobs = [Job(name, ids, Greedy(max_tokens_per_path=4)) for name, ids in problems(200)]
            done = [one async for one in grow_trees(jobs, engine=client, tokenizer=Letters(), concurrency=4)]
        return done, client

    done, client = asyncio.run(go())
    assert len(done) == 200
    assert all(one.transient and one.rows is None for one in done)
    # The first few are patient, the rest are tried once each.
    assert client.num_retries < 40


def of_p1(body: dict) -> bool:
    """Whether a fork of problem p1 is asked for: `grow` asks for its greedy path first."""
    return body["input_ids"][0] == 6 and len(body["input_ids"]) > 3


@pytest.mark.parametrize("status", [429, 503])
def test_what_nobody_takes_for_a_while_is_sent_again_beyond_the_attempts(model, whole, status):
    server = ScriptedServer()
    server.fault = lambda body, number: (
        web.Response(status=status, text="no available workers") if of_p1(body) and number <= 12 else None
    )
    growth, client = grow(model, server)
    assert growth.rejected.is_empty()
    assert growth.forest.equals(whole)
    assert client.retried[f"status {status}"] >= 12


def test_what_nobody_takes_is_given_up_when_the_patience_is_though_others_are_answered(model, whole):
    server = ScriptedServer()
    server.fault = lambda body, number: (
        web.Response(status=503, text="no available workers") if of_p1(body) else None
    )
    patient = RetrySettings(attempts=2, first_wait_s=0.02, longest_wait_s=0.05, patience_s=0.5)
    growth, _ = grow(model, server, retry=patient)
    row = growth.rejected.row(0, named=True)
    assert (growth.rejected.height, row["problem_id"], row["transient"]) == (1, "p1", True)
    assert int(re.search(r"503: .* \((\d+) attempts\)", row["reason"])[1]) > 2
    assert growth.forest.equals(whole.filter(pl.col("problem_id") != "p1"))


def test_a_request_that_kills_its_worker_each_time_is_not_sent_for_ever(model, whole):
    server, killed = ScriptedServer(), Counter()

    def fault(body, number):
        if not of_p1(body):
            return None
        # After each death the router has no worker for two attempts.
        killed[tuple(body["input_ids"])] += number % 3 == 1
        return "drop" if number % 3 == 1 else web.Response(status=503, text="no available workers")

    server.fault = fault
    growth, _ = grow(model, server)
    assert growth.rejected["problem_id"].to_list() == ["p1"]
    assert growth.rejected["transient"].to_list() == [True]
    assert max(killed.values()) == QUICK.attempts
    assert growth.forest.equals(whole.filter(pl.col("problem_id") != "p1"))


# ---- what cannot help stops everything -------------------------------------------------------------------


def test_a_missing_plugin_is_named_before_the_first_tree(model):
    server = ScriptedServer(plugin=False)
    with pytest.raises(EngineMismatchError, match="install eduprm-sglang"):
        grow(model, server)
    assert sum(server.seen.values()) == 1


def test_a_worker_without_the_plugin_behind_the_router_stops_the_run(model):
    server = ScriptedServer()

    def strip(body: dict, number: int) -> None:
        server.plugin = len(body["input_ids"]) < 5

    server.fault = strip
    with pytest.raises(EngineMismatchError, match="install eduprm-sglang"):
        grow(model, server)


def test_another_model_is_refused_with_both_names(model):
    with pytest.raises(EngineMismatchError, match=r"/elsewhere/large, expected .*tiny"):
        grow(model, ScriptedServer(model="large"))
    growth, _ = grow(model, ScriptedServer(model="large"), served_as="/elsewhere/large")
    assert growth.rejected.is_empty()


@pytest.mark.parametrize("started_with", ["tiny", "large"])
def test_a_server_started_again_with_another_model_stops_the_run(model, started_with):
    async def go() -> None:
        first = ScriptedServer()
        await first.__aenter__()
        patient = RetrySettings(attempts=4, first_wait_s=0.05, longest_wait_s=0.1)
        async with SglangServer(first.url, model=model, retry=patient) as client:
            await client.generate(Request(prefix_ids=(5, 6), max_new_tokens=4))
            await first.__aexit__()
            path = asyncio.create_task(client.generate(Request(prefix_ids=(5, 7), max_new_tokens=4)))
            await asyncio.sleep(0.2)
            async with ScriptedServer(model=started_with, port=int(first.url.rpartition(":")[2])):
                await path

    if started_with == "tiny":
        return asyncio.run(go())
    with pytest.raises(EngineMismatchError, match=r"/elsewhere/large, expected .*tiny"):
        asyncio.run(go())


def test_a_stop_token_that_the_client_does_not_know_is_refused(model):
    server = ScriptedServer()
    server.fault = lambda body, number: (
        body["sampling_params"].update(stop_token_ids=list(range(40))) if len(body["input_ids"]) > 1 else None
    )
    with pytest.raises(EngineMismatchError, match="pass stop_ids"):
        grow(model, server)


def test_nobody_there_says_so_with_the_url(model):
    frame = pl.DataFrame({"problem_id": ["p"], "prompt_token_ids": [[5, 6]]})
    client = SglangServer("http://127.0.0.1:9", model=model, start_wait_s=0.2)
    with pytest.raises(EngineMismatchError, match=r"http://127.0.0.1:9: no SGLang server is ready"):
        grow_forest(frame, strategies=[Greedy()], engine=client, tokenizer=Letters())


@pytest.mark.parametrize("answer", ["[1]", "null", '"ok"'])
@pytest.mark.parametrize("route", ["_model_info", "_server_info"])
def test_another_service_at_the_url_is_named(model, route, answer, monkeypatch):
    async def info(_: web.Request) -> web.Response:
        return web.Response(text=answer, content_type="application/json")

    server = ScriptedServer()
    monkeypatch.setattr(server, route, info)
    with pytest.raises(EngineMismatchError, match=r"info answered .*expected an SGLang server there"):
        grow(model, server)


@pytest.mark.parametrize("url", ["localhost:30000", "ftp://localhost:30000", "http://"])
def test_what_is_no_url_is_not_waited_for(model, url):
    async def go() -> None:
        async with SglangServer(url, model=model, start_wait_s=600):
            pass

    with pytest.raises(EngineMismatchError, match="is no URL: expected http://"):
        asyncio.run(asyncio.wait_for(go(), 20))


@pytest.mark.parametrize("options", [{"max_requests": 0}, {"timeout_s": 0.0}, {"timeout_s": float("nan")}])
def test_settings_with_which_nothing_would_ever_be_sent_or_ended_are_refused(model, options):
    with pytest.raises(ValueError, match=f"expected max_requests .*{next(iter(options.values()))}"):
        SglangServer("http://127.0.0.1:9", model=model, **options)


def test_numbers_of_another_length_than_the_tokens_are_refused(model):
    server = ScriptedServer()
    server.fault = lambda body, number: {"output_ids": [4, 5, 6, 3]} if len(body["input_ids"]) > 1 else None
    with pytest.raises(EngineMismatchError, match="expected 4 values a token"):
        grow(model, server)


# ---- bounds ----------------------------------------------------------------------------------------------


def test_bounds_mark_the_forest_and_hold_the_exact_entropy(model, whole):
    strategies = [EduSampling(threshold=1.0, budget=Budget(max_leaves=1, max_tokens_per_path=12))]
    growth, _ = grow(
        model, ScriptedServer(plugin=False), entropy="bounds", top_logprobs=6, strategies=strategies
    )
    forest = validate_forest(growth.forest)
    exact, _ = grow(model, ScriptedServer(), strategies=strategies)
    mine, theirs = leaf_paths(forest), leaf_paths(exact.forest)
    assert mine["token_ids"].equals(theirs["token_ids"])
    lower, upper, true = (
        np.concatenate([np.array(row) for row in column])
        for column in (
            forest.group_by("problem_id", maintain_order=True).agg(pl.col("entropies").explode())[
                "entropies"
            ],
            forest.group_by("problem_id", maintain_order=True).agg(pl.col("entropies_upper").explode())[
                "entropies_upper"
            ],
            theirs["entropies"],
        )
    )
    assert (lower <= true).all()
    assert (true <= upper).all()
    assert (upper - lower).max() > 0.1
    broken = forest.with_columns(entropies_upper=pl.col("entropies").list.eval(pl.element() - 0.5))
    with pytest.raises(ForestError, match="entropies_upper"):
        validate_forest(broken)


def test_bounds_of_samples_are_refused_where_the_log_probs_are_of_another_temperature(model):
    with pytest.raises(EngineMismatchError, match=r"temperature 0\.7"):
        grow(
            model,
            ScriptedServer(),
            entropy="bounds",
            strategies=[HighTemperature(temperature=0.7, max_tokens_per_path=12)],
        )


# ---- bounded, light, streaming ---------------------------------------------------------------------------


def test_many_problems_stream_through_bounded_memory_and_bounded_requests(model):
    taken, handed, waiting_most = 0, 0, 0

    def jobs():
        nonlocal taken
        for name, ids in problems(1500):
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
        growth, _ = grow(model, server, count=1, strategies=[strategy])
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


def test_a_server_that_answers_nothing_at_all_is_told_before_the_first_tree(model):
    server = ScriptedServer()
    server.fault = lambda body, number: web.Response(status=400, text="no speculative decoding")
    with pytest.raises(EngineMismatchError, match=r"not even one token.*no speculative decoding"):
        grow(model, server)


# ---- several prefixes in one POST -------------------------------------------------------------------------


def posted(model: str, server: ScriptedServer, **options) -> tuple:
    return grow(model, server, post_prefixes=4, gather_s=0.002, **options)


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
