"""What no second try of the SGLang client can help stops the run in a line: wrong servers, models, settings."""

from __future__ import annotations

import asyncio

import polars as pl
import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.search import Greedy, grow_forest
from eduprm.search.contract import EngineMismatchError, Request
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.testing import (
    Letters,
    ScriptedServer,
    grow_scripted,
    scripted_model,
)


@pytest.fixture
def model(tmp_path):
    return scripted_model(tmp_path / "tiny")


def test_a_missing_plugin_is_named_before_the_first_tree(model):
    server = ScriptedServer(plugin=False)
    with pytest.raises(EngineMismatchError, match="install eduprm-sglang"):
        grow_scripted(model, server)
    assert sum(server.seen.values()) == 1


def test_a_worker_without_the_plugin_behind_the_router_stops_the_run(model):
    server = ScriptedServer()

    def strip(body: dict, number: int) -> None:
        server.plugin = len(body["input_ids"]) < 5

    server.fault = strip
    with pytest.raises(EngineMismatchError, match="install eduprm-sglang"):
        grow_scripted(model, server)


def test_another_model_is_refused_with_both_names(model):
    with pytest.raises(EngineMismatchError, match=r"/elsewhere/large, expected .*tiny"):
        grow_scripted(model, ScriptedServer(model="large"))
    growth, _ = grow_scripted(model, ScriptedServer(model="large"), served_as="/elsewhere/large")
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
        grow_scripted(model, server)


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
        grow_scripted(model, server)


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
        grow_scripted(model, server)


def test_a_server_that_answers_nothing_at_all_is_told_before_the_first_tree(model):
    server = ScriptedServer()
    server.fault = lambda body, number: web.Response(status=400, text="no speculative decoding")
    with pytest.raises(EngineMismatchError, match=r"not even one token.*no speculative decoding"):
        grow_scripted(model, server)
