"""Answers of an SGLang server that are no answers: wrongly shaped, with NaN, with half of what was asked, late.

Each comes once for every path, and the trees are those of a server without faults; or for ever for one problem, and
that tree is rejected with a reason that names the fault, and no other.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from eduprm.core.retry import RetrySettings
from eduprm.forest import validate_forest
from eduprm.search import Budget, EduSampling
from eduprm.search.grow import grow_forest_async
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.testing import STOP, VOCAB, Letters, ScriptedServer, scripted_model

QUICK = RetrySettings(attempts=3, first_wait_s=0.01, longest_wait_s=0.02)
EDU = EduSampling(threshold=1.0, budget=Budget(max_leaves=5, max_tokens_per_path=10))
PROBLEMS = pl.DataFrame(
    [(f"p{n}", [5 + n, 7, 9]) for n in range(4)], schema=["problem_id", "prompt_token_ids"], orient="row"
)


@pytest.fixture
def model(tmp_path):
    return scripted_model(tmp_path)


def grow(model: str, fault: Callable[[ScriptedServer, dict, int], Any] | None = None, **options: Any):
    async def go():
        async with ScriptedServer() as server:
            client = SglangServer(server.url, model=model, served_as="tiny", retry=QUICK, **options)
            async with client:  # the check at the start meets no fault
                if fault is not None:
                    server.fault = lambda body, number: fault(server, body, number)
                growth = await grow_forest_async(
                    PROBLEMS, strategies=[EDU], engine=client, tokenizer=Letters(), concurrency=4
                )
            return growth, client

    return asyncio.run(go())


def changed(name: str, value: Callable[[list], list]) -> Callable:
    """An answer whose list of this name in meta_info is another one."""

    def answer(server: ScriptedServer, body: dict) -> dict:
        meta = server._answer(body, tuple(body["input_ids"]))["meta_info"]
        return {"meta_info": {**meta, name: value(meta[name])}}

    return answer


def whole(value: Any) -> Callable:
    return lambda server, body: web.json_response(value)


def without(name: str) -> Callable:
    def answer(server: ScriptedServer, body: dict) -> web.Response:
        full = server._answer(body, tuple(body["input_ids"]))
        full["meta_info"].pop(name, None)
        full.pop(name, None)
        return web.json_response(full)

    return answer


def stopped_at(ids: list[int]) -> Callable:
    return lambda server, body: {
        "output_ids": ids,
        "meta_info": {
            "finish_reason": {"type": "stop", "matched": STOP},
            "prompt_tokens": 3,
            "cached_tokens": 0,
        },
    }


def overflown(server: ScriptedServer, body: dict) -> dict:
    answer = server._answer(body, tuple(body["input_ids"]))
    reason = {"type": "stop", "matched": "NaN happened"}
    return {"output_ids": [STOP], "meta_info": {**answer["meta_info"], "finish_reason": reason}}


def longer(server: ScriptedServer, body: dict) -> dict:
    most = body["sampling_params"]["max_new_tokens"] + 2
    return server._answer(
        {**body, "sampling_params": {"max_new_tokens": most, "stop_token_ids": []}}, tuple(body["input_ids"])
    )


def slow(server: ScriptedServer, body: dict) -> Any:
    async def late() -> None:
        await asyncio.sleep(5)

    return late()


FAULTS: dict[str, tuple[Callable, str]] = {
    "another object": (whole({"detail": "hello"}), "no answer of the generate route"),
    "a list": (whole([1, 2]), "no answer of the generate route"),
    "an empty list": (whole([]), "no answer of the generate route"),
    "null": (whole(None), "no answer of the generate route"),
    "a text": (whole("ok"), "no answer of the generate route"),
    "no meta_info": (without("meta_info"), "meta_info"),
    "no output_ids": (without("output_ids"), "output_ids"),
    "no finish_reason": (without("finish_reason"), "finish_reason"),
    "no prompt_tokens": (without("prompt_tokens"), "prompt_tokens"),
    "texts for ids": (lambda server, body: {"output_ids": ["a", "b"]}, "output_ids"),
    "ids beyond the vocabulary": (lambda server, body: {"output_ids": [VOCAB + 7]}, "output_ids"),
    "negative ids": (lambda server, body: {"output_ids": [-1]}, "output_ids"),
    "NaN entropies": (changed("entropy", lambda v: [math.nan] * len(v)), "entropies"),
    "one NaN log-prob": (changed("logprob", lambda v: [*v[:-1], math.nan]), "logprob"),
    "infinite entropy": (changed("entropy", lambda v: [math.inf, *v[1:]]), "entropies"),
    "null log-probs": (changed("logprob", lambda v: [None] * len(v)), "only a part of the path"),
    "texts for log-probs": (changed("logprob", lambda v: ["x"] * len(v)), "logprob"),
    "one number for log-probs": (changed("logprob", lambda v: -0.5), "expected numbers for each"),
    "a runner-up beyond the vocabulary": (
        changed("runner_up_id", lambda v: [VOCAB, *v[1:]]),
        "runner_up_ids",
    ),
    "NaN in the server": (overflown, "gave the request up: NaN happened"),
    "no tokens": (stopped_at([]), "ends with []"),
    "stopped without the stop token": (stopped_at([4, 5]), "ends with [5]"),
    "more tokens than asked for": (longer, "expected at most"),
    "late": (slow, "within 1"),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return grow(scripted_model(tmp_path_factory.mktemp("m")))[0].forest


@pytest.mark.parametrize("name", list(FAULTS))
def test_an_answer_that_is_none_is_asked_for_again(name, model, expected):
    answer, _ = FAULTS[name]
    growth, client = grow(
        model, lambda server, body, number: answer(server, body) if number == 1 else None, timeout_s=1.0
    )
    assert growth.rejected.is_empty(), growth.rejected["reason"].to_list()
    assert growth.forest.equals(expected)
    assert client.num_retries > 0


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_that_stays_is_named_and_takes_one_tree_only(name, model, expected):
    answer, words = FAULTS[name]
    growth, _ = grow(
        model,
        lambda server, body, number: answer(server, body) if body["input_ids"][0] == 6 else None,
        timeout_s=1.0,
    )
    (row,) = growth.rejected.to_dicts()
    assert (row["problem_id"], row["transient"]) == ("p1", True)
    assert words in row["reason"]
    assert "3 attempts" in row["reason"]
    assert growth.forest.equals(expected.filter(pl.col("problem_id") != "p1"))
    validate_forest(growth.forest)


def test_a_log_prob_that_is_no_number_takes_one_tree_only_with_bounds_too(model):
    def fault(server: ScriptedServer, body: dict, number: int) -> dict | None:
        if body["input_ids"][0] != 6:
            return None
        meta = server._answer(body, tuple(body["input_ids"]))["meta_info"]
        meta["output_top_logprobs"][0][1][0] = None
        return {"meta_info": meta}

    growth, _ = grow(model, fault, entropy="bounds", top_logprobs=4)
    (row,) = growth.rejected.to_dicts()
    assert (row["problem_id"], row["transient"]) == ("p1", True)
    assert "expected numbers for each of" in row["reason"]
    assert growth.forest["problem_id"].n_unique() == 3
