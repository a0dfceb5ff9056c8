"""The SGLang client against a server on loopback that fails in every way, one at a time: what can help is tried again.

The server here speaks SGLang's routes with scripted numbers, so that faults come exactly when they are wanted; the real
SGLang is in tests/sglang.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable

import polars as pl
import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.search import Greedy
from eduprm.search.grow import Job, grow_trees
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.testing import (
    QUICK,
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


def failing_once(answer: object) -> Callable:
    return lambda body, number: answer if number == 1 and len(body["input_ids"]) > 1 else None


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
    growth, client = grow_scripted(model, server, count=3, timeout_s=2.0)
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
    growth, _ = grow_scripted(model, server)
    row = growth.rejected.row(0, named=True)
    assert (growth.rejected.height, row["problem_id"], row["transient"]) == (1, "p1", True)
    assert "500" in row["reason"]
    assert "boom" in row["reason"]
    assert "4 attempts" in row["reason"]
    assert growth.forest.equals(whole.filter(pl.col("problem_id") != "p1"))
    assert growth.costs["problem_id"].to_list() == ["p0", "p2", "p3", "p4", "p5"]
    # Asked again later, exactly that tree comes.
    again, _ = grow_scripted(model, ScriptedServer())
    assert again.forest.filter(problem_id="p1").equals(whole.filter(problem_id="p1"))


def test_a_prompt_that_the_server_refuses_is_set_aside_for_good_after_one_sending(model):
    server = ScriptedServer()
    refused = web.json_response({"error": {"message": "longer than the model's context"}}, status=400)
    server.fault = lambda body, number: refused if body["input_ids"][0] == 7 else None
    growth, _ = grow_scripted(model, server)
    row = growth.rejected.row(0, named=True)
    assert (row["problem_id"], row["transient"]) == ("p2", False)
    assert "context" in row["reason"]
    assert server.seen[7, 7, 9] == 1


def test_a_request_beyond_the_server_s_own_limit_is_not_even_sent(model):
    server = ScriptedServer(context=14)
    growth, _ = grow_scripted(model, server, strategies=[Greedy(max_tokens_per_path=12)])
    assert growth.rejected.height == 6
    assert not growth.rejected["transient"].any()
    assert "limit of 14" in growth.rejected["reason"][0]
    assert sum(server.seen.values()) == 1  # the question at the start


def test_a_path_cut_short_without_a_word_is_refused(model):
    server = ScriptedServer()
    server.fault = lambda body, number: (
        body["sampling_params"].update(max_new_tokens=4) if body["input_ids"][0] == 5 else None
    )
    growth, _ = grow_scripted(model, server, strategies=[Greedy(max_tokens_per_path=12)])
    assert growth.rejected["problem_id"].to_list() == ["p0"]
    assert "after 4 of 12 tokens" in growth.rejected["reason"][0]


def test_a_server_that_dies_is_not_waited_for_problem_by_problem(model):
    async def go() -> tuple[list, SglangServer]:
        server = ScriptedServer()
        await server.__aenter__()
        slow = RetrySettings(attempts=6, first_wait_s=0.05, patience_s=0.3)
        async with SglangServer(server.url, model=model, retry=slow) as client:
            await server.__aexit__()
            jobs = [Job(name, ids, Greedy(max_tokens_per_path=4)) for name, ids in scripted_problems(200)]
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
    growth, client = grow_scripted(model, server)
    assert growth.rejected.is_empty()
    assert growth.forest.equals(whole)
    assert client.retried[f"status {status}"] >= 12


def test_what_nobody_takes_is_given_up_when_the_patience_is_though_others_are_answered(model, whole):
    server = ScriptedServer()
    server.fault = lambda body, number: (
        web.Response(status=503, text="no available workers") if of_p1(body) else None
    )
    patient = RetrySettings(attempts=2, first_wait_s=0.02, longest_wait_s=0.05, patience_s=0.5)
    growth, _ = grow_scripted(model, server, retry=patient)
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
    growth, _ = grow_scripted(model, server)
    assert growth.rejected["problem_id"].to_list() == ["p1"]
    assert growth.rejected["transient"].to_list() == [True]
    assert max(killed.values()) == QUICK.attempts
    assert growth.forest.equals(whole.filter(pl.col("problem_id") != "p1"))
