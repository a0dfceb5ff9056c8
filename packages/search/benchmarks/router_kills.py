"""Workers behind SGLang's router, killed by SIGKILL in mid-run and started again: what is lost, doubled or changed.

Two workers of a tiny random model on this machine's CPU, one router in front of them, and a client that grows EDU
trees without a pause. At moments drawn from the seed one worker, drawn too, is killed with its whole process group and
started again; it is not killed before it has answered some requests. After the last kill the trees under way grow to
their ends, the same problems are grown through one worker that is left alone, and the two forests are compared: trees
lost, trees that came twice, and trees that differ, with the tie that explains each (`eduprm.search.compare`). Prints
JSON; exit status 1 for a tree lost, doubled, rejected or different without a tie.

    uv run --extra sglang packages/search/benchmarks/router_kills.py --kills 10
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.retry import RetrySettings
from eduprm.forest import validate_forest
from eduprm.policy import resolve_model
from eduprm.search import Budget, EduSampling, PolicyTokenizer
from eduprm.search.compare import compare_forests
from eduprm.search.grow import Grown, Growth, Job, collect, grow_trees
from eduprm.search.sglang import SglangServer

EDU = EduSampling(threshold=1.0, budget=Budget(max_leaves=4, max_tokens_per_path=16))


# What a forked worker then has.
PRELOAD = [
    "sglang.launch_server",
    "sglang.srt.entrypoints.http_server",
    "sglang.srt.managers.scheduler",
    "sglang.srt.models.registry",
    "sglang.srt.managers.detokenizer_manager",
    "transformers",
    "__main__",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(argv: list[str], log: str) -> None:
    """A worker, in a process forked from one that has imported SGLang: a start costs no minute of imports."""
    os.setsid()
    with open(log, "a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    multiprocessing.set_start_method("fork", force=True)
    # SGLang asks for "spawn", for the sake of CUDA; its scheduler would import everything again.
    multiprocessing.set_start_method = lambda *_, **__: None  # type: ignore[assignment]
    from eduprm.sglang import cpu_server

    sys.argv = ["worker", *argv]
    cpu_server.main()


def route(argv: list[str], log: str) -> None:
    """A router, in a process of its own."""
    os.setsid()
    with open(log, "a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.execv(sys.executable, [sys.executable, "-m", "sglang_router.launch_router", *argv])


class Server:
    """A server that can be killed and started again on the same port."""

    def __init__(
        self, target: Callable[[list[str], str], None], argv: list[str], log: Path, port: int
    ) -> None:
        self.url, self._log = f"http://127.0.0.1:{port}", log
        self._target, self._argv = target, ["--host", "127.0.0.1", "--port", str(port), *argv]
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self._process = context.Process(target=self._target, args=(self._argv, str(self._log)))
        self._process.start()

    def kill(self) -> None:
        """SIGKILL to the server, its scheduler and its detokenizer."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.join()

    def get(self, route: str) -> str | None:
        """The body of a 200, None without one."""
        try:
            with urllib.request.urlopen(self.url + route, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return None

    def wait(self, route: str, *, limit_s: float = 600.0) -> None:
        until = time.monotonic() + limit_s
        while self.get(route) is None:
            if time.monotonic() > until or not self._process.is_alive():
                raise SystemExit(f"{self.url} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.5)

    def answered(self) -> int:
        """Requests that this process has answered, by its own count."""
        lines = (self.get("/metrics") or "").splitlines()
        counts = (line.rsplit(" ", 1)[1] for line in lines if line.startswith("sglang:num_requests_total"))
        return int(sum(map(float, counts)))


def tiny_model(folder: Path) -> str:
    """Random weights, spread enough for a distribution to have a first choice, with a real tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, initializer_range=0.2, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def jobs(tokenizer: PolicyTokenizer, stop: asyncio.Event) -> Iterator[Job]:
    """Problems without an end, until `stop` is set."""
    number = 0
    while not stop.is_set():
        text = f"{number + 3}: compute {number + 3} times {number + 11} and {number} more.\nAnswer:\n"
        yield Job(f"p{number}", tokenizer.encode(text), EDU)
        number += 1


class Killing:
    """What is on while trees grow: `stop` once the kills are over, `starting` while a worker comes back."""

    def __init__(self) -> None:
        self.stop, self.starting = asyncio.Event(), False


async def kill(workers: list[Server], options: argparse.Namespace, state: Killing) -> list[dict[str, Any]]:
    """Kill and start again, so many times or for so long; then set `stop`."""
    done: list[dict[str, Any]] = []
    draw, until = random.Random(options.seed), time.monotonic() + options.limit_s
    try:
        while len(done) < options.kills and time.monotonic() < until:
            number = draw.randrange(len(workers))
            pause_s = draw.uniform(0.0, 4.0)
            worker = workers[number]
            while await asyncio.to_thread(worker.answered) <= options.answered:
                await asyncio.sleep(0.5)
            await asyncio.sleep(pause_s)
            answered = await asyncio.to_thread(worker.answered)
            worker.kill()
            began, state.starting = time.monotonic(), True
            worker.start()
            await asyncio.to_thread(worker.wait, "/health")
            state.starting = False
            back_s = round(time.monotonic() - began, 1)
            done.append(
                {"worker": number, "pause_s": round(pause_s, 2), "answered": answered, "back_after_s": back_s}
            )
            print(json.dumps(done[-1]), file=sys.stderr, flush=True)
    finally:
        state.stop.set()
    return done


async def grow_under_kills(
    router: Server, workers: list[Server], model: str, options: argparse.Namespace
) -> tuple[list[Grown], dict[str, Any]]:
    """(what was grown, what happened)."""
    state, tokenizer = Killing(), PolicyTokenizer(model)
    retry = RetrySettings(attempts=options.attempts, longest_wait_s=4.0)
    client = SglangServer(router.url, model=model, max_requests=options.rows, retry=retry)
    grown: list[Grown] = []
    async with client:
        killing = asyncio.create_task(kill(workers, options, state))
        async for one in grow_trees(
            jobs(tokenizer, state.stop), engine=client, tokenizer=tokenizer, concurrency=options.rows
        ):
            grown.append(one)
            # A worker on the same cores has to start, and the second forest must not take hours.
            if state.starting:
                await asyncio.sleep(options.pause_s)
        kills = await killing
    told = {"kills": kills, "sent_again": dict(client.retried), "given_up": dict(client.given_up)}
    return grown, {**told, "tokens": client.num_decoded}


async def grow_alone(worker: Server, model: str, asked: list[Job], rows: int) -> Growth:
    client = SglangServer(worker.url, model=model, max_requests=rows)
    async with client:
        trees = grow_trees(asked, engine=client, tokenizer=PolicyTokenizer(model), concurrency=rows)
        return collect([one async for one in trees])


def compared(model: str, ours: Growth, theirs: Growth, prompts: dict[str, list[int]]) -> dict[str, Any]:
    """Verdicts on trees that both forests hold, with the nats between the two choices of each tie."""
    import torch
    from transformers import AutoModelForCausalLM

    judge: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    @torch.inference_mode()
    def top_three(problem_id: str, ids: tuple[int, ...]) -> list[float]:
        logits = judge(torch.tensor([[*prompts[problem_id], *ids]])).logits[0, -1]
        return [float(value) for value in torch.log_softmax(logits.double(), dim=-1).topk(3).values]

    both = set(ours.forest["problem_id"]) & set(theirs.forest["problem_id"])
    mine, others = (g.forest.filter(pl.col("problem_id").is_in(list(both))) for g in (ours, theirs))
    table = compare_forests(mine, others, strategy=EDU, top_three=top_three)
    same_rows = sum(
        a.drop("logprobs", "entropies").equals(b.drop("logprobs", "entropies"))
        for a, b in ((mine.filter(problem_id=name), others.filter(problem_id=name)) for name in sorted(both))
    )
    return {
        "verdicts": dict(Counter(table["verdict"])),
        "same_nodes_and_texts": same_rows,
        "gaps_nats": [round(gap, 7) for gap in table["gap_nats"].drop_nulls()],
        "entropy_error_nats": table["entropy_error_nats"].max(),
    }


def report(grown: list[Grown], told: dict[str, Any], alone: Growth, model: str) -> dict[str, Any]:
    growth = collect(grown)
    validate_forest(growth.forest)
    asked = [one.job.problem_id for one in sorted(grown, key=lambda one: one.number)]
    there = growth.forest["problem_id"].unique(maintain_order=True).to_list()
    roots = growth.forest.filter(pl.col("parent_id").is_null()).height
    prompts = {one.job.problem_id: list(one.job.prompt_ids) for one in grown}
    return {
        **told,
        "sent_again_in_all": sum(told["sent_again"].values()),
        "trees": len(there),
        "lost": len(set(map("p{}".format, range(len(asked)))) - set(there)),
        "twice": len(asked) - len(set(asked)) + roots - len(there) + growth.costs.height - len(there),
        "rejected": growth.rejected["reason"].to_list(),
        "rejected_alone": alone.rejected.height,
        "requests": int(growth.costs["requests"].sum()),
        "computed_again": int(growth.costs["recomputed_tokens"].sum())
        / int(growth.costs["prefix_tokens"].sum()),
        **compared(model, growth, alone, prompts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--answered", type=int, default=8, help="requests that a worker answers before a kill"
    )
    parser.add_argument("--rows", type=int, default=4, help="trees and requests at once")
    parser.add_argument("--pause-s", type=float, default=1.0, help="after a tree, while a worker is starting")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="no kill after so long")
    parser.add_argument("--attempts", type=int, default=8, help="of the client at one request that was taken")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "SGLANG_PLATFORM": "eduprm_cpu"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_model(folder / "tiny")
        servers: list[Server] = []
        try:
            for number in range(2):
                flags = [
                    "--model-path",
                    model,
                    "--max-total-tokens",
                    "8192",
                    "--enable-metrics",
                    "--sleep-on-idle",
                ]
                servers.append(Server(serve, flags, folder / f"worker{number}.log", free_port()))
            workers = list(servers)
            for worker in workers:
                worker.wait("/health")
            flags = [
                "--policy", "cache_aware", "--prometheus-port", str(free_port()),
                "--worker-startup-check-interval", "1", "--health-check-interval-secs", "5",
                "--worker-urls", *[worker.url for worker in workers],
            ]  # fmt: skip
            servers.append(Server(route, flags, folder / "router.log", free_port()))
            servers[-1].wait("/health_generate")
            grown, told = asyncio.run(grow_under_kills(servers[-1], workers, model, options))
            asked = [one.job for one in sorted(grown, key=lambda one: one.number)]
            alone = asyncio.run(grow_alone(workers[0], model, asked, options.rows))
        finally:
            for server in servers:
                server.kill()
        found = report(grown, told, alone, model)
    print(json.dumps(found, indent=1))
    wrong = found["lost"] or found["twice"] or found["rejected"] or found["verdicts"].get("different")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
