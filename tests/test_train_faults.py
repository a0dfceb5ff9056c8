"""A whole run of the main job through a server that fails in many ways: each is named, by cause, in what the run says.

The server is scripted (eduprm.search.sglang.testing); policy and PRM are tiny random models, the stages are real.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiohttp import web

from eduprm.prm.testing import tiny_backbone
from eduprm.search.sglang.testing import ScriptedServer, serving

SMALL = [
    "--engine", "sglang", "--problem.num-train", "3", "--problem.num-test", "2", "--shard-problems", "2",
    "--search.budget.max-leaves", "4", "--search.budget.max-tokens-per-path", "24", "--samples.num-samples", "2",
    "--prm.train.epochs", "1", "--bootstrap", "50", "--server.retry.attempts", "3", "--server.timeout-s", "6",
    "--server.retry.first-wait-s", "0.01", "--server.start-wait-s", "1",
]  # fmt: skip

CAUSES = {
    "status 503": lambda body: web.Response(status=503),
    "no answer in time": lambda body: late(),
    "connection refused or lost": lambda body: "drop",
    "no JSON": lambda body: web.Response(text='{"output_ids": [4, 5'),
    "wrong shape: meta_info": lambda body: web.json_response({"output_ids": [4]}),
    "no number in entropies": lambda body: {"meta_info": with_nan(body)},
    "given up by the server": lambda body: aborted(body),
}

pytestmark = pytest.mark.slow


async def late() -> None:
    await asyncio.sleep(8)


def with_nan(body: dict) -> dict[str, Any]:
    meta: dict[str, Any] = ScriptedServer()._answer(body, tuple(body["input_ids"]))["meta_info"]
    return {**meta, "entropy": [float("nan")] * len(meta["entropy"])}


def aborted(body: dict) -> web.Response:
    answer = ScriptedServer()._answer(body, tuple(body["input_ids"]))
    answer["meta_info"]["finish_reason"] = {"type": "abort", "message": "worker shut down"}
    return web.json_response(answer)


@pytest.fixture
def server(tmp_path) -> Iterator[ScriptedServer]:
    with serving(ScriptedServer(model="policy", context=512)) as started:
        yield started


@pytest.fixture
def train(tmp_path, monkeypatch, capfd, server):
    """Run the command in this process, and give what it says on both channels."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from eduprm_train.cli import main

    policy = tiny_backbone(tmp_path / "policy", max_position_embeddings=512)

    def run(folder: Path, *arguments: str, expect: int = 0) -> str:
        capfd.readouterr()
        command = ["--run", str(folder), *SMALL, "--policy.model", str(policy), "--url", server.url]
        status = main([*command, *arguments])
        said = capfd.readouterr()
        assert status == expect, said.err
        return " ".join((said.err + said.out).split())  # the closing lines wrap

    return run


def test_a_run_names_what_went_wrong_by_cause_and_what_the_cache_changes(tmp_path, train, server):
    run = tmp_path / "run"
    train(run, "--only", "problems")
    prompts = pl.read_parquet(run / "problems.parquet").filter(split="train")["prompt_token_ids"]
    refused, counted = tuple(prompts[0]), dict.fromkeys(CAUSES, 0)

    def fault(body: dict, number: int) -> Any:
        prefix = tuple(body["input_ids"])
        if prefix == refused:
            return web.json_response({"error": {"message": "a prompt of 77 tokens"}}, status=400)
        if "extra_key" in body or len(prefix) == 1:
            return None
        if number > 1:
            return None
        cause = list(CAUSES)[sum(counted.values()) % len(CAUSES)]
        counted[cause] += 1
        return CAUSES[cause](body)

    server.fault = fault
    said = train(run, "--server.check-cache", "4")
    assert min(counted.values()) > 0

    metrics = json.loads((run / "metrics.json").read_text())["stages"]["search"]
    assert metrics["server_faults"] == {"retried": counted, "given_up": {}}
    assert list(metrics["rejected_for"].values()) == [metrics["rejected"]] == [1]
    assert "answered 400" in next(iter(metrics["rejected_for"]))
    found = metrics["cache_check"]
    assert (found["asked"], found["checked"], found["against_tree"]["differ"]) == (4, 4, [])

    page = (run / "report.html").read_text()
    for text in (said, page):
        for cause in counted:
            assert cause in text
        assert "answered 400" in text
    sent_again = sum(counted.values())
    assert (
        said.count(f"requests sent again: {sent_again} (connection refused or lost: ") == 2
    )  # stage, closing lines
    line = (
        "4 forks decoded again without the server's prefix cache: 0 continue differently than in their trees"
    )
    assert said.count(line) == 2
    assert "Forks without the server" in page


def test_counts_add_up_over_starts(tmp_path, train, server):
    run, only = tmp_path / "run", ("--only", "problems", "--only", "search")
    train(run, "--only", "problems")
    unlucky = tuple(pl.read_parquet(run / "problems.parquet").filter(split="train")["prompt_token_ids"][1])
    server.fault = lambda body, number: (
        web.Response(status=500) if tuple(body["input_ids"])[: len(unlucky)] == unlucky else None
    )
    said = train(run, *only, expect=3)
    assert "requests sent again: 2 (status 500: 2)" in said
    assert (
        "requests given up after their last attempt, their trees left to the next start: 1 (status 500: 1)"
        in said
    )
    server.fault = lambda body, number: web.Response(status=503) if number == 3 else None
    server.seen.clear()
    for _ in range(2):
        server.seen[unlucky] += 1
    train(run, *only)
    record = json.loads((run / "stages/search.json").read_text())
    assert record["server_faults"] == {
        "retried": {"status 500": 2, "status 503": 1},
        "given_up": {"status 500": 1},
    }
    assert (record["done"], record["rejected"]) == (True, 0)


def test_a_cache_check_wants_a_server(tmp_path, capfd):
    from eduprm_train.cli import main

    assert main(["--run", str(tmp_path), "--server.check-cache", "3"]) == 2
    said = capfd.readouterr().err
    assert "--server.check-cache 3 asks a server: expected --engine sglang and --url http://host:port" in said
