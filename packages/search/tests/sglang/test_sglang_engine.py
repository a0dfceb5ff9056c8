"""The real SGLang, on the GPU if there is one, else on the CPU.

The trees of the transformers engine, the radix cache, a router, and a worker killed. Needs the extra `sglang`; one pair
of servers for all tests (conftest).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request

import numpy as np
import polars as pl
import pytest
import torch

from eduprm.core.retry import RetrySettings
from eduprm.forest import leaf_paths, token_counts, validate_forest
from eduprm.search import (
    Budget,
    EduSampling,
    Greedy,
    HighTemperature,
    PolicyTokenizer,
    RequestError,
    TransformersEngine,
    grow_forest,
)
from eduprm.search.compare import compare_forests
from eduprm.search.contract import EngineMismatchError, Request
from eduprm.search.grow import grow_forest_async
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.cache_check import check_forks, pick_forks

pytestmark = [pytest.mark.slow, pytest.mark.sglang]

MODEL = "smollm2-135m-instruct"
EDU = EduSampling(
    threshold=0.5, parallel_forks=4, budget=Budget(max_leaves=6, max_tokens_per_path=24, max_total_tokens=90)
)


@pytest.fixture(scope="session")
def tokenizer() -> PolicyTokenizer:
    return PolicyTokenizer(MODEL)


def problems(tokenizer: PolicyTokenizer, count: int, *, first: int = 0) -> pl.DataFrame:
    # No common beginning: a router that knows nothing may send each problem anywhere.
    prompts = [
        tokenizer.encode(f"{n + 3}: compute {n + 3} times {n + 11} and {n} more.\nAnswer:\n")
        for n in range(first, first + count)
    ]
    return pl.DataFrame(
        {"problem_id": [f"p{n}" for n in range(first, first + count)], "prompt_token_ids": prompts}
    )


@pytest.fixture(scope="session")
def embedded() -> TransformersEngine:
    return TransformersEngine.from_pretrained(MODEL, device="cpu", dtype="float32")


def test_trees_equal_those_of_the_transformers_engine_but_for_ties(sglang_cluster, embedded, tokenizer):
    _, (worker, _) = sglang_cluster
    asked = problems(tokenizer, 5)
    prompts = dict(asked.rows())
    served = grow_forest(
        asked, strategies=[EDU], engine=SglangServer(worker.url, model=MODEL), tokenizer=tokenizer
    )
    here = grow_forest(asked, strategies=[EDU], engine=embedded, tokenizer=tokenizer)

    @torch.inference_mode()
    def top_three(problem_id: str, ids: tuple[int, ...]) -> list[float]:
        logits = embedded.model(torch.tensor([[*prompts[problem_id], *ids]])).logits[0, -1]
        return torch.log_softmax(logits.double(), dim=-1).topk(3).values.tolist()

    validate_forest(served.forest)
    compared = compare_forests(served.forest, here.forest, strategy=EDU, top_three=top_three)
    assert "different" not in compared["verdict"].to_list(), compared
    assert (compared["verdict"] == "same").sum() >= 3, compared
    assert compared["entropy_error_nats"].max() < 1e-3
    assert compared["logprob_error_nats"].max() < 1e-3
    # Costs: each tree's prefixes were held but for the prompt and the forks' own tokens.
    assert served.costs["unique_tokens"].to_list() == token_counts(served.forest)["unique_tokens"].to_list()
    assert served.costs["recomputed_tokens"].sum() <= 0.01 * served.costs["prefix_tokens"].sum(), served.costs
    assert here.costs["recomputed_tokens"].sum() == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the servers run on the CPU")
def test_the_servers_run_on_the_gpu(sglang_cluster):
    _, workers = sglang_cluster
    for worker in workers:
        with urllib.request.urlopen(worker.url + "/server_info", timeout=10) as answer:
            assert json.loads(answer.read())["device"] == "cuda"


def test_several_prefixes_in_one_post_give_the_same_trees(sglang_cluster, tokenizer):
    _, (worker, _) = sglang_cluster
    asked = problems(tokenizer, 6, first=300)
    one, several = (
        grow_forest(
            asked,
            strategies=[EDU],
            engine=SglangServer(worker.url, model=MODEL, post_prefixes=count),
            tokenizer=tokenizer,
        )
        for count in (1, 4)
    )
    assert several.rejected.is_empty()
    same = [
        one.forest.filter(problem_id=p)["token_ids"].equals(several.forest.filter(problem_id=p)["token_ids"])
        for p in asked["problem_id"]
    ]
    # Sums of floats depend on the batch: a choice between two tokens of one probability may fall either way.
    assert sum(same) >= 5


def test_forks_continue_alike_without_the_prefix_cache_but_for_ties(sglang_cluster, tokenizer):
    router, (worker, _) = sglang_cluster
    asked = problems(tokenizer, 6, first=400)

    async def go(url: str) -> dict:
        async with SglangServer(url, model=MODEL) as client:
            grown = await grow_forest_async(asked, strategies=[EDU], engine=client, tokenizer=tokenizer)
            forks = pick_forks([grown.forest], trees=["edu"], prompts=dict(asked.rows()), count=12, seed=0)
            return await check_forks(forks, client)

    # The router passes on the field that asks for no cache.
    for url in (worker.url, router.url):
        found = asyncio.run(go(url))
        assert (found["checked"], found["unanswered"], found["cached_anyway"]) == (12, 0, 0)
        assert found["reused_tokens"] >= 0.9 * found["prefix_tokens"]
        for name in ("against_tree", "against_cache"):
            assert all(one["margin_nats"] < 1e-3 for one in found[name]["differ"]), found
            assert found[name]["entropy_max_nats"] < 1e-3


def test_bounds_hold_the_exact_entropies_and_mark_the_forest(sglang_cluster, tokenizer):
    _, (worker, _) = sglang_cluster
    asked, strategy = problems(tokenizer, 2), [Greedy(max_tokens_per_path=24)]
    exact, bounds = (
        grow_forest(
            asked,
            strategies=strategy,
            engine=SglangServer(worker.url, model=MODEL, entropy=kind),
            tokenizer=tokenizer,
        )
        for kind in ("exact", "bounds")
    )
    assert "entropies_upper" in validate_forest(bounds.forest).columns
    assert leaf_paths(bounds.forest)["token_ids"].equals(leaf_paths(exact.forest)["token_ids"])
    true, lower = (
        np.concatenate([np.array(r) for r in leaf_paths(g.forest)["entropies"]]) for g in (exact, bounds)
    )
    upper = np.concatenate([np.array(row) for row in bounds.forest["entropies_upper"]])
    assert (lower <= true + 1e-4).all()
    assert (true <= upper + 1e-4).all()
    assert lower.max() < true.max()


def test_samples_come_at_temperature_one_and_warn_that_they_do_not_repeat(sglang_cluster, tokenizer):
    _, (worker, _) = sglang_cluster
    samples = HighTemperature(temperature=0.8, num_samples=4, max_tokens_per_path=12)
    with pytest.warns(UserWarning, match="deterministic"):
        growth = grow_forest(
            problems(tokenizer, 1),
            strategies=[samples],
            engine=SglangServer(worker.url, model=MODEL),
            tokenizer=tokenizer,
        )
    assert len(leaf_paths(growth.forest)) == 4


def test_limits_and_the_wrong_model_are_told_by_the_server(sglang_cluster, tokenizer, tmp_path):
    _, (worker, _) = sglang_cluster

    async def go() -> str:
        async with SglangServer(worker.url, model=MODEL, timeout_s=200) as client:
            assert client.stop_ids == frozenset({2})
            limit = client.context_length
            assert limit <= 4096
            # What just fits is taken whole (a prefix has to leave five tokens free), one more is refused here.
            done = await client.generate(Request(prefix_ids=(5,) * (limit - 5), max_new_tokens=5))
            assert len(done.token_ids) == 5 or done.finish == "stop"
            with pytest.raises(RequestError) as caught:
                await client.generate(Request(prefix_ids=(5,) * (limit - 5), max_new_tokens=6))
            return str(caught.value)

    assert "limit" in asyncio.run(go())
    other = tmp_path / "another-model"
    other.mkdir()
    (other / "config.json").write_text(
        json.dumps(
            {"vocab_size": 9, "max_position_embeddings": 64, "eos_token_id": 2, "architectures": ["X"]}
        )
    )
    with pytest.raises(EngineMismatchError, match=r"smollm2.*expected .*another-model"):
        grow_forest(
            problems(tokenizer, 1),
            strategies=[EDU],
            engine=SglangServer(worker.url, model=str(other)),
            tokenizer=tokenizer,
        )


IN_PROCESS = """
import json, sys
import polars as pl
from eduprm.search import EduSampling, PolicyTokenizer, RequestError, grow_forest
from eduprm.search.sglang import SglangEngine

if __name__ == "__main__":
    model, edu, problems, arguments = json.loads(sys.argv[1])
    asked = pl.DataFrame(problems, schema=["problem_id", "prompt_token_ids"], orient="row")
    with SglangEngine(model, **arguments) as engine:
        # Two growths: each has an event loop of its own.
        for part in (asked.head(1), asked.tail(2)):
            growth = grow_forest(part, strategies=[EduSampling(**edu)], engine=engine, tokenizer=PolicyTokenizer(model))
            print("TREE", json.dumps([growth.forest["token_ids"].to_list(), growth.costs.to_dicts()]))
        long = part.with_columns(prompt_token_ids=pl.lit([5] * 9000))
        print("REFUSED", *grow_forest(long, strategies=[EduSampling(**edu)], engine=engine,
            tokenizer=PolicyTokenizer(model)).rejected["reason"])
"""


def test_the_engine_in_a_process_of_its_own_grows_the_same_trees(
    sglang_cluster, engine_arguments, tokenizer, tmp_path
):
    _, (worker, _) = sglang_cluster
    asked = problems(tokenizer, 3, first=50)
    client = SglangServer(worker.url, model=MODEL)
    expected = grow_forest(asked, strategies=[EDU], engine=client, tokenizer=tokenizer)
    script = tmp_path / "in_process.py"
    script.write_text(IN_PROCESS)
    arguments, platform = engine_arguments
    given = json.dumps([MODEL, EDU.model_dump(mode="json"), asked.rows(), arguments])
    done = subprocess.run(
        [sys.executable, str(script), given], capture_output=True, text=True, timeout=400,
        env={**os.environ, **platform, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    parts = [json.loads(line[5:]) for line in lines if line.startswith("TREE ")]
    assert [ids for part, _ in parts for ids in part] == expected.forest["token_ids"].to_list()
    assert sum(cost["recomputed_tokens"] for _, costs in parts for cost in costs) == 0
    assert sum("limit of" in line for line in lines if line.startswith("REFUSED")) == 1


def test_the_main_job_grows_its_trees_through_the_router(sglang_cluster, tmp_path, monkeypatch):
    router, _ = sglang_cluster
    from eduprm_train.cli import main

    arguments = [
        "--engine", "sglang", "--url", router.url, "--policy.model", MODEL, "--problem.task", "products",
        "--search.threshold", "0.5", "--run", str(tmp_path / "run"), "--problem.num-train", "4",
        "--problem.num-test", "2", "--search.budget.max-leaves", "4", "--search.budget.max-tokens-per-path", "32",
        "--search.parallel-forks", "2", "--samples.num-samples", "3", "--only", "problems", "--only", "search",
        "--only", "label",
    ]  # fmt: skip
    assert main(arguments) == 0
    labels = pl.concat([pl.read_parquet(path) for path in (tmp_path / "run" / "labels").glob("*.parquet")])
    assert labels.select("problem_id", "tree").unique().height == 4 + 3 * 2
    costs = pl.concat([pl.read_parquet(path) for path in (tmp_path / "run" / "costs").glob("*.parquet")])
    edu = costs.filter(tree="edu")
    assert edu["recomputed_tokens"].sum() <= 0.01 * edu["prefix_tokens"].sum(), edu


def served(worker) -> int:
    """Requests that a worker has answered, from its own count."""
    with urllib.request.urlopen(worker.url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(
        sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("sglang:num_requests_total"))
    )


def test_behind_a_router_each_tree_stays_with_its_worker_and_a_killed_worker_loses_nothing(
    sglang_cluster, tokenizer
):
    router, workers = sglang_cluster
    client = SglangServer(router.url, model=MODEL, max_requests=16)
    before = [served(worker) for worker in workers]
    growth = grow_forest(
        problems(tokenizer, 12, first=100), strategies=[EDU], engine=client, tokenizer=tokenizer
    )
    assert growth.rejected.is_empty()
    # Both worked, and yet no fork was computed from its prompt: each found its prefix where it was sent.
    assert all(served(worker) > old for worker, old in zip(workers, before, strict=True))
    assert growth.costs["recomputed_tokens"].sum() <= 0.01 * growth.costs["prefix_tokens"].sum(), growth.costs

    asked = problems(tokenizer, 16, first=200)
    whole = grow_forest(
        asked, strategies=[EDU], engine=SglangServer(workers[0].url, model=MODEL), tokenizer=tokenizer
    )
    grown: list[str] = []

    def on_tree(rows: pl.DataFrame) -> None:
        grown.append(rows["problem_id"][0])
        if len(grown) == 3:
            workers[1].kill()

    client = SglangServer(
        router.url, model=MODEL, max_requests=16, retry=RetrySettings(attempts=12, longest_wait_s=4)
    )
    after = grow_forest(asked, strategies=[EDU], engine=client, tokenizer=tokenizer, on_tree=on_tree)
    assert not workers[1].alive
    assert after.rejected.is_empty(), after.rejected
    # Nothing lost, nothing twice, and the trees of one undisturbed worker.
    assert after.forest.select("problem_id").unique(maintain_order=True).equals(asked.select("problem_id"))
    assert sorted(grown) == sorted(asked["problem_id"])
    validate_forest(after.forest)
    same = sum(
        after.forest.filter(problem_id=p)["token_ids"].equals(whole.forest.filter(problem_id=p)["token_ids"])
        for p in asked["problem_id"]
    )
    assert same >= 14
