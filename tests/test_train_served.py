"""The main job through an SGLang server: what it lacks after faults, the next start fetches, and nothing else.

The server is scripted (eduprm.search.sglang.testing), so that faults come where they are wanted; the job through the
real SGLang and a router is in packages/search/tests/sglang.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from aiohttp import web

from eduprm.policy import STEPS_MODEL, resolve_model
from eduprm.search.sglang.testing import ScriptedServer, serving

ROOT = Path(__file__).resolve().parent.parent
SMALL = [
    "--engine", "sglang", "--problem.num-train", "6", "--problem.num-test", "4", "--shard-problems", "3",
    "--search.budget.max-leaves", "3", "--search.budget.max-tokens-per-path", "16", "--samples.num-samples", "2",
    "--server.retry.attempts", "2", "--server.retry.first-wait-s", "0.01", "--server.start-wait-s", "0.2",
    "--only", "problems", "--only", "search",
]  # fmt: skip

pytestmark = pytest.mark.slow


def scripted() -> ScriptedServer:
    return ScriptedServer(model=Path(resolve_model(STEPS_MODEL)).name, context=2000)


@pytest.fixture
def train(monkeypatch, capfd) -> Callable[..., str]:
    """Run the command in this process, and give what it says."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from eduprm_train.cli import main

    def run(folder: Path, *arguments: str, expect: int = 0) -> str:
        capfd.readouterr()
        status = main(["--run", str(folder), *SMALL, *arguments])
        said = capfd.readouterr().err
        assert status == expect, said
        return said

    return run


def forest(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "forest").glob("*.parquet"))}


def test_what_is_missing_after_faults_the_next_start_fetches_and_nothing_else(tmp_path, train):
    with serving(scripted()) as server:
        train(tmp_path / "whole", "--url", server.url)
    # With all trees there the server may be stopped (docs/scale.md).
    assert "label" in train(tmp_path / "whole", "--url", server.url, "--only", "label")
    problems = pl.read_parquet(tmp_path / "whole" / "problems.parquet")
    unlucky = [tuple(ids) for ids in problems["prompt_token_ids"].to_list()[1:9:3]]
    refused = tuple(problems["prompt_token_ids"].to_list()[-1])

    run = tmp_path / "run"
    with serving(scripted()) as server:

        def fault(body: dict, number: int) -> web.Response | None:
            prefix = tuple(body["input_ids"])
            if prefix == refused:
                return web.json_response({"error": {"message": "longer than the context"}}, status=400)
            lost = any(prefix[: len(ids)] == ids for ids in unlucky)
            return web.Response(status=500, text="worker lost") if lost else None

        server.fault = fault
        said = train(run, "--url", server.url, expect=3)
    left = pl.concat([pl.read_parquet(path) for path in (run / "rejected/search").glob("*.parquet")])
    count = left.filter("transient").height
    assert count == sum(
        3 if ids in problems.filter(split="test")["prompt_token_ids"].to_list() else 1
        for ids in map(list, unlucky)
    )
    assert f"{count} of 18 trees are missing" in said
    assert "worker lost" in said
    # Nothing of an unlucky tree is there, and all of every other.
    there = pl.concat([pl.read_parquet(path) for path in (run / "forest").glob("*.parquet")])
    ids = {tuple(ids): name for name, ids in problems.select("problem_id", "prompt_token_ids").iter_rows()}
    assert not set(there["problem_id"]) & {ids[prompt] for prompt in (*unlucky, refused)}

    with serving(scripted()) as server:
        said = train(run, "--url", server.url)
        asked = {prefix for prefix in server.seen if len(prefix) > 1}
    assert asked
    assert all(any(prefix[: len(own)] == own for own in unlucky) for prefix in asked)
    assert "3 trees could not be grown" in said
    after = pl.concat([pl.read_parquet(path) for path in sorted((run / "forest").glob("*.parquet"))])
    whole = pl.concat(
        [pl.read_parquet(path) for path in sorted((tmp_path / "whole" / "forest").glob("*.parquet"))]
    )
    assert after.equals(whole.filter(pl.col("problem_id") != ids[refused]))
    untouched = [name for name, content in forest(run).items() if content == forest(tmp_path / "whole")[name]]
    assert untouched
    costs = pl.concat([pl.read_parquet(path) for path in (run / "costs").glob("*.parquet")])
    assert costs.height == costs.select("problem_id", "tree").unique().height == 18 - 3


def test_a_server_that_is_not_there_or_lacks_the_plugin_is_told_in_a_line(tmp_path, train):
    said = train(tmp_path / "none", "--url", "http://127.0.0.1:9", expect=2)
    assert "train: --url: http://127.0.0.1:9: no SGLang server is ready" in said
    bare = scripted()
    bare.plugin = False
    with serving(bare):
        said = train(tmp_path / "bare", "--url", bare.url, expect=2)
        assert "install eduprm-sglang" in said
        train(
            tmp_path / "bounds", "--url", bare.url, "--server.entropy", "bounds", "--samples.temperature", "1"
        )
    marked = pl.read_parquet(next((tmp_path / "bounds" / "forest").glob("*.parquet")))
    assert "entropies_upper" in marked.columns


def test_flags_that_do_not_fit_together_are_refused(tmp_path, train):
    assert "--engine sglang and --url" in train(tmp_path / "a", expect=2)
    url = ("--url", "http://127.0.0.1:9")
    assert "--samples.temperature 1.0" in train(tmp_path / "b", *url, "--server.entropy", "bounds", expect=2)


def test_a_server_with_a_key_is_used_and_the_key_is_in_no_file_or_message(tmp_path, train, monkeypatch):
    key = "sk-of-the-server-0123"
    monkeypatch.setenv("SERVER_KEY", key + "\n")
    named = ("--server.key-env", "SERVER_KEY")
    server = ScriptedServer(model=Path(resolve_model(STEPS_MODEL)).name, context=2000, api_key=key)
    with serving(server):
        url = ("--url", server.url)
        said = train(tmp_path / "run", *url, expect=2)
        assert "answered 401" in said
        assert "the server wants an API key: give --server.key-env" in said
        monkeypatch.setenv("SERVER_KEY", "sk-another-key")
        said = train(tmp_path / "run", *url, *named, expect=2)
        assert "refuses the API key: put its own into the environment variable SERVER_KEY" in said
        assert "Unauthorized: Bearer [the key]" in said
        assert "sk-another-key" not in said
        monkeypatch.setenv("SERVER_KEY", key + "\n")
        said = train(tmp_path / "run", *url, *named)
    # Nearly all of these paths reach 16 tokens: the first of four shards says so, and the end.
    assert "search: first of 4 shards: solutions cut before their end: " in said
    assert said.count("cut before their end") == 2
    assert "(limit 16 tokens)" in said
    assert forest(tmp_path / "run")
    assert "SERVER_KEY" in (tmp_path / "run" / "config.json").read_text()
    for path in (tmp_path / "run").rglob("*.*"):
        assert key.encode() not in path.read_bytes(), path
    assert key not in said
    monkeypatch.delenv("SERVER_KEY")
    said = train(tmp_path / "other", *url, *named, expect=2)
    assert "--server.key-env: expected a key in the environment variable SERVER_KEY, which is not set" in said
    said = train(tmp_path / "here", "--engine", "transformers", *named, expect=2)
    assert "--server.key-env SERVER_KEY is of a server's key: expected --engine sglang" in said
