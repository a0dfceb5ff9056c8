"""How many trees one client process keeps growing: `grow_forest_async` with EDU sampling against simulated servers.

    uv run packages/search/benchmarks/client_scale.py                    # one server, 16 to 1,000 trees at once
    uv run packages/search/benchmarks/client_scale.py --sweep servers    # 1,000 trees, 1 to 64 servers behind a router

The client is real: strategy, heap, tree building, polars rows, the policy's tokenizer, and the JSON of the native
generate route (each request encoded, each response parsed; no sockets). The servers are a model of continuous batching:
one decoding step of b rows takes step_ms + row_ms * b, new requests are prefilled first while decoding waits, a
request's prefix is in the cache but for its new part. Servers go on while the client is busy, as real ones do.

Each setting is run over the same window in virtual time, where the client costs nothing (`could`), and in real time
(`did`). The client keeps up while did / could is near 1; real time needs an idle machine. In virtual time the CPU
seconds are counted, which other load hardly changes: `cores needed` is what the client (and this model of the servers)
takes for each second of the servers' time, and tokens per CPU second the rate at which its one core is full.

Profiles (a rate without a source is a guess, so give your own with --step-ms, --row-ms, --prefill):
  h100  Qwen2.5-7B in bf16 on one H100 SXM, COMPUTED, not measured: 15.2 GB of weights / 3.35 TB/s = 4.5 ms a step;
        57,344 bytes of keys and values a token * 1,000 tokens / 3.35 TB/s = 0.017 ms a row; prefill 2 * 7.6e9 FLOP a
        token at half of 989 TFLOP/s = 32,500 tokens/s. Real servers are slower, so the client's task is easier.
  cpu   SmolLM2-135M in SGLang on two cores, measured: 11 tokens/s at batch 1, 93 at batch 16 (docs/scale.md);
        prefill as this project's packed scoring, 634 tokens/s (docs/prm.md).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import json
import platform
import selectors
import statistics
import time
import zlib
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from eduprm.search import Budget, Completion, EduSampling, PolicyTokenizer, Request, grow_forest_async

PROFILES = {"h100": (4.5, 0.017, 32_500.0), "cpu": (85.5, 5.4, 634.0)}
TREES, SERVERS = (16, 32, 64, 128, 256, 512, 1000), (1, 2, 4, 8, 16, 32, 64)
KEPT_UP = 0.95


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as nothing is ready: the client takes no time."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list:
        if timeout is not None and timeout > 0:
            self._loop.jump(timeout)
        return super().select(0)


@dataclass
class Server:
    """One continuous batch on a timeline of its own (seconds of the event loop's clock)."""

    step_s: float
    row_s: float
    prefill_rate: float
    max_rows: int
    at: float = 0.0  # the timeline is computed up to here
    steps: float = 0.0  # decoding steps done
    running: list[tuple[float, int, asyncio.Future]] = field(default_factory=list)  # heap by the last step
    waiting: list[tuple[int, int, asyncio.Future]] = field(
        default_factory=list
    )  # tokens to prefill, to decode
    timer: asyncio.TimerHandle | None = None

    def submit(self, loop: asyncio.AbstractEventLoop, to_prefill: int, to_decode: int) -> asyncio.Future:
        self._advance(loop.time())
        future = loop.create_future()
        self.waiting.append((to_prefill, to_decode, future))
        self._plan(loop)
        return future

    def _advance(self, now: float) -> None:
        """Compute the timeline up to `now`; finished requests leave at their own time, whenever we look."""
        while True:
            self._admit(now)
            if not self.running:
                self.at = max(self.at, now)
                return
            step = self.step_s + self.row_s * len(self.running)
            ends = self.at + (self.running[0][0] - self.steps) * step
            if ends > now + 1e-9:
                if now > self.at:
                    self.steps += (now - self.at) / step
                    self.at = now
                return
            self.steps, self.at = self.running[0][0], ends
            while self.running and self.running[0][0] <= self.steps + 1e-9:
                future = heapq.heappop(self.running)[2]
                if not future.done():
                    future.set_result(None)

    def _admit(self, now: float) -> None:
        """Prefill what waits, decoding standing still; a timeline ahead of `now` is in such a prefill."""
        while self.waiting and len(self.running) < self.max_rows and self.at <= now:
            room = self.max_rows - len(self.running)
            taken, self.waiting = self.waiting[:room], self.waiting[room:]
            self.at += sum(tokens for tokens, _, _ in taken) / self.prefill_rate
            for _, to_decode, future in taken:
                heapq.heappush(self.running, (self.steps + to_decode, id(future), future))

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self._admit(loop.time())
        if not self.running:
            self.timer = None
            return
        step = self.step_s + self.row_s * len(self.running)
        due = self.at + max(self.running[0][0] - self.steps, 0.0) * step
        if self.waiting:  # let in as soon as the present prefill is over
            due = min(due, max(self.at, loop.time() + 1e-6))
        self.timer = loop.call_at(due, self._wake, loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._advance(loop.time())
        self._plan(loop)


class ScriptedEngine:
    """Meets eduprm.search's Engine contract with made-up tokens, through the JSON that a server would send."""

    stop_ids = frozenset({2})
    context_length = 1 << 20

    def __init__(self, servers: list[Server], *, mean_tokens: int, anchor_rate: float, seed: int = 0) -> None:
        self._servers = servers
        rng = np.random.default_rng(seed)
        self._bodies = [_body(rng, mean_tokens=mean_tokens, anchor_rate=anchor_rate) for _ in range(256)]
        self._cached: dict[str, int] = {}
        self.busy = 0
        self.done: list[tuple[float, int]] = []  # when, tokens

    async def generate(self, request: Request) -> Completion:
        loop = asyncio.get_running_loop()
        wire = json.dumps(
            {"input_ids": request.prefix_ids, "sampling_params": {"max_new_tokens": request.max_new_tokens}}
        )
        where = zlib.crc32(request.group.encode())
        count, body = self._bodies[(where + 31 * len(request.prefix_ids)) % len(self._bodies)]
        # A tree's requests go to one server, as behind a cache-aware router; the fork's token is what is new to it.
        known = len(request.prefix_ids) - 1 if request.group in self._cached else 0
        self._cached[request.group] = len(wire)
        await self._servers[where % len(self._servers)].submit(
            loop, len(request.prefix_ids) - known, min(count, request.max_new_tokens)
        )
        answer = json.loads(body)
        info = answer["meta_info"]
        size = min(count, request.max_new_tokens)
        self.done.append((loop.time(), size))
        return Completion(
            token_ids=np.array(answer["output_ids"][:size], np.int32),
            logprobs=np.array(info["logprob"][:size], np.float32),
            entropies=np.array(info["entropy"][:size], np.float32),
            runner_up_ids=np.array(info["runner_up_id"][:size], np.int32),
            runner_up_logprobs=np.array(info["runner_up_logprob"][:size], np.float32),
            finish="stop" if size == count else "length",
            prefix_tokens=len(request.prefix_ids),
            cached_tokens=known,
        )


def _body(rng: np.random.Generator, *, mean_tokens: int, anchor_rate: float) -> tuple[int, bytes]:
    """One answer as bytes: its length spread evenly around the mean, a share of its positions above 1 nat."""
    size = int(rng.integers(mean_tokens // 2, mean_tokens * 3 // 2 + 1))
    ids = rng.integers(100, 40_000, size=(2, size)).tolist()
    ids[0][-1] = 2
    entropies = np.where(
        rng.random(size) < anchor_rate, rng.uniform(1.0, 3.0, size), rng.uniform(0.0, 0.9, size)
    )
    info = {
        "entropy": entropies.tolist(),
        "logprob": rng.uniform(-0.7, 0.0, size).tolist(),
        "runner_up_id": ids[1],
        "runner_up_logprob": rng.uniform(-5.0, -0.7, size).tolist(),
    }
    return size, json.dumps({"output_ids": ids[0], "meta_info": info}).encode()


@dataclass
class Seen:
    """What one run over the window gave."""

    requests_s: float
    tokens_s: float
    cpu_s: float  # CPU seconds of this process per second of the window's clock
    lag_ms: list[float]


async def run_window(
    options: argparse.Namespace, *, trees: int, servers: int, tokenizer: PolicyTokenizer
) -> Seen:
    loop = asyncio.get_running_loop()
    step_ms, row_ms, prefill = options.rates
    batch = [
        Server(step_ms / 1e3, row_ms / 1e3, prefill, options.max_rows, at=loop.time()) for _ in range(servers)
    ]
    engine = ScriptedEngine(batch, mean_tokens=options.tokens, anchor_rate=options.anchors)
    prompt = list(range(100, 100 + options.prompt))
    problems = pl.DataFrame(
        {
            "problem_id": [f"p{i}" for i in range(options.problems)],
            "prompt_token_ids": [prompt] * options.problems,
        }
    )
    budget = Budget(max_leaves=options.leaves, max_tokens_per_path=4 * options.tokens)
    growth = asyncio.ensure_future(
        grow_forest_async(
            problems,
            strategies=[EduSampling(threshold=1.0, budget=budget)],
            engine=engine,
            tokenizer=tokenizer,
            concurrency=trees,
        )
    )
    lag: list[float] = []

    async def heartbeat() -> None:
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            lag.append(1e3 * (loop.time() - due))

    beat = asyncio.ensure_future(heartbeat())
    while len(engine.done) < options.warm * trees:  # until the trees are no longer in step with each other
        await asyncio.sleep(0.05)
    began, busy = loop.time(), time.process_time()
    lag.clear()
    # As many requests as a tree makes, for each tree: its making into rows belongs to the client's work.
    while len(engine.done) < (options.warm + options.leaves) * trees:
        await asyncio.sleep(0.05)
    ended, used = loop.time(), time.process_time() - busy
    assert not growth.done(), "the problems ran out within the window: give more with --problems"
    for task in (growth, beat):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    inside = [tokens for when, tokens in engine.done if began <= when <= ended]
    window = ended - began
    return Seen(len(inside) / window, sum(inside) / window, used / window, lag)


def run_loop(options: argparse.Namespace, *, virtual: bool, **settings) -> Seen:
    with asyncio.Runner(loop_factory=VirtualLoop if virtual else None) as runner:
        return runner.run(run_window(options, **settings))


def report(
    options: argparse.Namespace, *, trees: int, servers: int, tokenizer: PolicyTokenizer
) -> tuple[float, float]:
    """Print one row; return did / could (NaN: not run) and the tokens per second that the servers could."""
    settings = {"trees": trees, "servers": servers, "tokenizer": tokenizer}
    could = run_loop(options, virtual=True, **settings)
    row = f"| {trees} | {servers} | {could.requests_s:.0f} | {could.tokens_s:,.0f} | {could.cpu_s:.2f} | "
    row += f"{could.tokens_s / could.cpu_s:,.0f} | "
    if not options.rounds:
        print(row + "not run | | |", flush=True)
        return float("nan"), could.tokens_s
    did = [run_loop(options, virtual=False, **settings) for _ in range(options.rounds)]
    lag = sorted(value for seen in did for value in seen.lag_ms)
    shares = [seen.tokens_s / could.tokens_s for seen in did]
    print(
        row + f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) | "
        f"{statistics.median(seen.cpu_s for seen in did):.2f} | {lag[len(lag) // 2]:.1f} / "
        f"{lag[int(len(lag) * 0.99)]:.0f} / {lag[-1]:.0f} |",
        flush=True,
    )
    return statistics.median(shares), could.tokens_s


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweep", choices=["trees", "servers"], default="trees")
    parser.add_argument("--profile", choices=list(PROFILES), default="h100")
    parser.add_argument("--step-ms", type=float, help="time of a decoding step without rows")
    parser.add_argument("--row-ms", type=float, help="time a row adds to a step")
    parser.add_argument("--prefill", type=float, help="prefill tokens per second")
    parser.add_argument("--max-rows", type=int, default=1024, help="most rows of a server's batch")
    parser.add_argument(
        "--trees", type=int, nargs="*", help="trees at once; the last one in a sweep over servers"
    )
    parser.add_argument("--servers", type=int, nargs="*", help="servers; the first one in a sweep over trees")
    parser.add_argument("--leaves", type=int, default=8, help="of a tree")
    parser.add_argument("--prompt", type=int, default=200, help="prompt tokens")
    parser.add_argument("--tokens", type=int, default=200, help="mean tokens of one request")
    parser.add_argument("--anchors", type=float, default=0.05, help="share of positions above the threshold")
    parser.add_argument("--problems", type=int, default=5_000)
    parser.add_argument("--warm", type=float, default=8.0, help="requests a tree before the window")
    parser.add_argument("--rounds", type=int, default=1, help="runs in real time; 0: virtual time only")
    options = parser.parse_args()
    given = (options.step_ms, options.row_ms, options.prefill)
    options.rates = tuple(
        own if own is not None else known for own, known in zip(given, PROFILES[options.profile], strict=True)
    )
    return options


def main() -> None:
    options = parse()
    tokenizer = PolicyTokenizer("smollm2-135m-instruct")
    step_ms, row_ms, prefill = options.rates
    print(
        f"Python {platform.python_version()}, {platform.machine()}, profile {options.profile}: a step takes "
        f"{step_ms} ms + {row_ms} ms a row, prefill {prefill:,.0f} tokens/s"
    )
    print(
        "| trees | servers | requests/s could | tokens/s could | cores needed | tokens per CPU s | did / could "
        "| cores used | lag ms p50 / p99 / max |\n|---|---|---|---|---|---|---|---|---|"
    )
    if options.sweep == "trees":
        servers = (options.servers or [1])[0]
        for trees in options.trees or TREES:
            report(options, trees=trees, servers=servers, tokenizer=tokenizer)
        return
    largest = 0.0
    for servers in options.servers or SERVERS:
        share, rate = report(
            options, trees=(options.trees or [1000])[-1], servers=servers, tokenizer=tokenizer
        )
        if share >= KEPT_UP:
            largest = max(largest, rate)
    if options.rounds:
        print(f"largest server rate fed with did / could of at least {KEPT_UP}: {largest:,.0f} tokens/s")


if __name__ == "__main__":
    main()
