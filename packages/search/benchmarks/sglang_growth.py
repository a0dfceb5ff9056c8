"""How busy tree search keeps a running SGLang server: trees, requests and tokens a second, against a bare client.

Grows EDU trees of `long_sum` problems (threshold 0.1, best first, at most 8 leaves of 128 tokens) through a server
that is running already, with the client, strategy and row building that apps/train uses. Each setting of the client
is PREFIXES:ROWS, the prefixes of one POST and the requests on their way at once (a third number is the trees at
once, as apps/train chooses them where it is left out). `bare` then sends the requests that the first setting made,
every one known beforehand, by an HTTP client that does nothing else: the same prefixes in the same order, each
answer as long as it was (ignore_eos), entropies asked for, as many at once. Settings and bare client take turns,
`--rounds` times, each from an empty radix cache; the first round is preceded by a warm-up. Ratios are of neighbours
in a round.

On a GPU, where the packages are on PYTHONPATH (server A; then once more with `--skip-tokenizer-init`, server B):

    MODEL=$(python3 -c 'from eduprm.policy import resolve_model; print(resolve_model("smollm2-135m-steps"))' | tail -1)
    setsid nohup python3 -m sglang.launch_server --model-path $MODEL --port 30000 --dtype bfloat16 \\
      --attention-backend triton --sampling-backend pytorch --mem-fraction-static 0.3 --grammar-backend none \\
      --max-running-requests 256 --prefill-decode-interval 8 --prefill-decode-interval-min-bs 128 \\
      --log-level-http warning > server.log 2>&1 &
    until curl -sf localhost:30000/health; do sleep 1; done
    timeout 85 python3 packages/search/benchmarks/sglang_growth.py --settings 1:320 8:640

On two CPU cores a small model says what the client costs: `--model FOLDER --ids-below 1000 --trees 32 --settings
1:32`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
import urllib.request
from typing import Any, NamedTuple

import aiohttp
import polars as pl

from eduprm.problems import make_split, messages_for
from eduprm.search import Budget, Completion, EduSampling, PolicyTokenizer, Request
from eduprm.search.grow import Job, collect, grow_trees, trees_at_once
from eduprm.search.sglang import SglangServer
from eduprm.search.sglang.wire import payload


class Took(NamedTuple):
    """One run."""

    seconds: float
    trees: int
    requests: int
    tokens: int
    client_s: float

    def line(self, name: str) -> str:
        return (
            f"{name}: {self.trees} trees, {self.requests} requests, {self.tokens} tokens, {self.seconds:.2f} s: "
            f"{self.requests / self.seconds:.0f} requests/s, {self.tokens / self.seconds:.0f} tokens/s; client "
            f"{1e3 * self.client_s / self.requests:.2f} ms CPU a request"
        )


class Recorded:
    """An engine that notes what was asked of the one behind it, and how long the answers were."""

    def __init__(self, engine: SglangServer) -> None:
        self._engine = engine
        self.asked: list[tuple[Request, int]] = []

    @property
    def stop_ids(self) -> frozenset[int]:
        return self._engine.stop_ids

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    async def generate(self, request: Request) -> Completion:
        done = await self._engine.generate(request)
        self.asked.append((request, len(done.token_ids)))
        return done


async def grown(
    options: argparse.Namespace, jobs: list[Job], tokenizer: PolicyTokenizer, setting: str
) -> Any:
    """(Took, what was asked) of growing all jobs."""
    prefixes, rows, *trees = map(int, setting.split(":"))
    at_once = trees[0] if trees else trees_at_once(rows)
    async with SglangServer(
        options.url, model=options.model, max_requests=rows, post_prefixes=prefixes
    ) as server:
        engine = Recorded(server)
        start, used = time.perf_counter(), time.process_time()
        done = [
            one async for one in grow_trees(jobs, engine=engine, tokenizer=tokenizer, concurrency=at_once)
        ]
        growth = collect(done)
        seconds, used = time.perf_counter() - start, time.process_time() - used
    if growth.rejected.height:
        raise SystemExit(f"{growth.rejected.height} trees were rejected: {growth.rejected['reason'][0]}")
    tokens = sum(count for _, count in engine.asked)
    return Took(seconds, len(jobs), len(engine.asked), tokens, used), engine.asked


async def bare(
    options: argparse.Namespace, asked: list[tuple[Request, int]], stop_ids: frozenset[int], rows: int
) -> Took:
    """The same requests one by one, `rows` at once, answers read and parsed and no more."""
    bodies = []
    for request, count in asked:
        body = payload(request, stop_ids=stop_ids, entropy="exact", top_logprobs=20)
        body["sampling_params"] |= {"max_new_tokens": count, "ignore_eos": True, "stop_token_ids": []}
        bodies.append(json.dumps(body).encode())
    waiting, tokens = iter(bodies), 0
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Content-Type": "application/json"}
    ) as session:

        async def work() -> None:
            nonlocal tokens
            for body in waiting:
                async with session.post(options.url + "/generate", data=body) as answer:
                    answer.raise_for_status()
                    tokens += len(json.loads(await answer.read())["output_ids"])

        start, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(rows)))
        seconds, used = time.perf_counter() - start, time.process_time() - used
    return Took(seconds, 0, len(asked), tokens, used)


def flush(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url + "/flush_cache", method="POST"), timeout=30):
        time.sleep(0.2)


def jobs_of(options: argparse.Namespace, tokenizer: PolicyTokenizer) -> list[Job]:
    strategy = EduSampling(
        threshold=options.threshold,
        budget=Budget(max_leaves=options.leaves, max_tokens_per_path=options.tokens),
    )
    questions: pl.DataFrame = make_split("long_sum", train=options.trees, test=1, seed=options.seed)
    rows = questions.filter(split="train").select("problem_id", "question").rows()
    jobs = []
    for problem_id, question in rows:
        ids = tokenizer.encode_chat(messages_for(question, "steps"))
        vocab = options.ids_below
        jobs.append(Job(problem_id, [token % vocab for token in ids] if vocab else ids, strategy))
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:30000")
    parser.add_argument("--model", default="smollm2-135m-steps")
    parser.add_argument("--trees", type=int, default=1536)
    parser.add_argument("--settings", nargs="+", default=["1:256"], metavar="PREFIXES:ROWS[:TREES]")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--leaves", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ids-below", type=int, help="fold prompts into a small model's vocabulary")
    parser.add_argument("--no-bare", action="store_true", help="leave out the bare client")
    options = parser.parse_args()
    options.url = options.url.rstrip("/")

    tokenizer = PolicyTokenizer(options.model)
    jobs, stop_ids = jobs_of(options, tokenizer), SglangServer(options.url, model=options.model).stop_ids
    bare_rows = int(options.settings[0].split(":")[1])
    asyncio.run(grown(options, jobs[: max(len(jobs) // 8, 1)], tokenizer, options.settings[0]))
    rates: dict[str, list[float]] = {}
    asked: list[tuple[Request, int]] = []
    for _ in range(options.rounds):
        for setting in options.settings:
            flush(options.url)
            took, found = asyncio.run(grown(options, jobs, tokenizer, setting))
            asked = asked or found
            rates.setdefault(setting, []).append(took.requests / took.seconds)
            print(took.line(f"growth {setting}"), flush=True)
        if not options.no_bare:
            flush(options.url)
            took = asyncio.run(bare(options, asked, stop_ids, bare_rows))
            rates.setdefault("bare", []).append(took.requests / took.seconds)
            print(took.line(f"bare, {bare_rows} at once"), flush=True)
    for setting in () if options.no_bare else options.settings:
        ratios = [a / b for a, b in zip(rates[setting], rates["bare"], strict=True)]
        print(
            f"growth {setting} / bare, requests/s: {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)"
        )


if __name__ == "__main__":
    main()
