"""A server for tests of clients: SGLang's routes with scripted numbers, and faults when they are wanted.

What the next token is follows from the prefix by a fixed function, so every client gets the same paths however
often it asks; no model, no cache.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from aiohttp import web
from numpy.typing import NDArray

from eduprm.core.retry import RetrySettings
from eduprm.search.budget import Budget
from eduprm.search.grow import Growth, grow_forest_async
from eduprm.search.sglang.server import SglangServer
from eduprm.search.strategies._contract import Strategy
from eduprm.search.strategies.edu import EduSampling

VOCAB, STOP = 40, 3
QUICK = RetrySettings(attempts=4, first_wait_s=0.01, longest_wait_s=0.02)


def distribution(prefix: tuple[int, ...]) -> NDArray[np.float64]:
    """Log-probs of the next token, [VOCAB], a fixed function of the prefix."""
    rng = np.random.default_rng([len(prefix), *prefix[-4:]])
    logits = rng.normal(size=VOCAB) * 2.5
    return logits - np.log(np.exp(logits).sum())


class Letters:
    """A tokenizer of VOCAB letters."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """A letter a token."""
        return "".join(chr(97 + token % 26) for token in token_ids)


def scripted_model(folder: Path) -> str:
    """Write the config of the model that `ScriptedServer` runs; returns the folder, as clients name it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "vocab_size": VOCAB, "max_position_embeddings": 512, "eos_token_id": STOP, "architectures": ["X"],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


Fault = Callable[[dict[str, Any], int], Any]
"""Takes a body and how often it has come. Gives None (answer as usual), fields that replace the answer's, a whole
response, "drop" (close the connection), or something to await that gives one of these."""


class ScriptedServer:
    """SGLang's routes over `distribution`, as an async context manager on loopback.

    Args:
        plugin: whether eduprm-sglang answers.
        model: the last part of the path it says it serves.
        context: tokens of a prefix and its completion.
        api_key: what every call has to bring, as with SGLang's --api-key.
        port: of its own; 0 for a free one.

    Attributes:
        url: once it is entered.
        fault: what goes wrong.
        seen: how often each prefix was sent.
        in_flight: requests being answered.
        most_in_flight: the largest of it so far.
        posts: calls of the generate route.
    """

    def __init__(
        self,
        *,
        plugin: bool = True,
        model: str = "tiny",
        context: int = 200,
        api_key: str | None = None,
        port: int = 0,
    ) -> None:
        self.api_key, self._port = api_key, port
        self.plugin, self.model, self.context = plugin, model, context
        self.fault: Fault = lambda body, number: None
        self.seen: Counter[tuple[int, ...]] = Counter()
        self.in_flight = self.most_in_flight = self.posts = 0
        self.url = ""

    async def __aenter__(self) -> ScriptedServer:
        app = web.Application(middlewares=[self._let_in])
        app.router.add_get("/model_info", self._model_info)
        app.router.add_get("/server_info", self._server_info)
        app.router.add_post("/generate", self._generate)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, shutdown_timeout=0.1)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _let_in(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "")
        if self.api_key is not None and sent != f"Bearer {self.api_key}":
            return web.json_response({"error": f"Unauthorized: {sent}"}, status=401)
        return await handler(request)

    async def _model_info(self, _: web.Request) -> web.Response:
        return web.json_response({"model_path": f"/elsewhere/{self.model}", "is_generation": True})

    async def _server_info(self, _: web.Request) -> web.Response:
        return web.json_response({"max_req_input_len": self.context - 4, "version": "test"})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.posts += 1
        if not isinstance(body["input_ids"][0], list):
            return await self._generate_one(request, body)
        return await self._generate_several(request, body)

    async def _generate_several(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """A list of prefixes: a list of answers, when the last is there; what fails one fails all."""
        each = [
            {**body, "input_ids": ids, "sampling_params": params}
            for ids, params in zip(body["input_ids"], body["sampling_params"], strict=True)
        ]
        answers = await asyncio.gather(*(self._generate_one(request, one) for one in each))
        failed = next((one for one in answers if one.status != 200), None)
        if failed is not None:
            return failed
        return web.Response(
            text="[" + ",".join(str(one.text) for one in answers) + "]", content_type="application/json"
        )

    async def _generate_one(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        prefix = tuple(body["input_ids"])
        self.seen[prefix] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.001)
            answered = self.fault(body, self.seen[prefix])
            if asyncio.iscoroutine(answered):
                answered = await answered
            if answered == "drop" and request.transport is not None:
                request.transport.close()
                answered = None
            if isinstance(answered, web.Response):
                return answered
            return web.json_response({**self._answer(body, prefix), **(answered or {})})
        finally:
            self.in_flight -= 1

    def _answer(self, body: dict[str, Any], prefix: tuple[int, ...]) -> dict[str, Any]:
        params = body["sampling_params"]
        ids = list(prefix)
        rows: list[tuple[NDArray[np.float64], NDArray[np.intp]]] = []
        while len(rows) < params["max_new_tokens"] and not (rows and ids[-1] in params["stop_token_ids"]):
            logprobs = distribution(tuple(ids))
            best = np.argsort(-logprobs)
            rows.append((logprobs, best))
            ids.append(int(best[0]))
        stopped = ids[-1] in params["stop_token_ids"]
        meta: dict[str, Any] = {
            "finish_reason": {"type": "stop", "matched": ids[-1]} if stopped else {"type": "length"},
            "prompt_tokens": len(prefix),
            # Of an extra_key of its own, a request finds nothing in the cache.
            "cached_tokens": len(prefix) - 1 if len(prefix) > 3 and "extra_key" not in body else 0,
        }
        if self.plugin and body.get("return_entropy") is True:
            meta |= {
                "entropy": [float(-(np.exp(p) * p).sum()) for p, _ in rows],
                "logprob": [float(p[best[0]]) for p, best in rows],
                "runner_up_id": [int(best[1]) for _, best in rows],
                "runner_up_logprob": [float(p[best[1]]) for p, best in rows],
                "entropy_plugin": "test",
            }
        if body.get("return_logprob"):
            k = body["top_logprobs_num"]
            tops = [[[float(p[i]), int(i), None] for i in best[:k]] for p, best in rows]
            meta["output_token_logprobs"] = [top[0] for top in tops]
            meta["output_top_logprobs"] = tops
        return {"output_ids": ids[len(prefix) :], "meta_info": meta}


@contextmanager
def serving(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Run the server on a thread of its own, for clients that have an event loop of theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def hang() -> None:
    """An answer that does not come within a test's time limits."""
    await asyncio.sleep(30)


def scripted_problems(count: int) -> list[tuple[str, list[int]]]:
    """Ids and prompts of `count` problems, no two alike."""
    return [(f"p{n}", [5 + n % 30, 7, 9 + n // 30]) for n in range(count)]


def grow_scripted(
    model: str,
    server: ScriptedServer,
    *,
    count: int = 6,
    strategies: Sequence[Strategy] | None = None,
    **options: Any,
) -> tuple[Growth, SglangServer]:
    """Grow the trees of `count` problems through a client of the server; `options` are the client's."""
    frame = pl.DataFrame(scripted_problems(count), schema=["problem_id", "prompt_token_ids"], orient="row")
    small = EduSampling(threshold=1.0, budget=Budget(max_leaves=6, max_tokens_per_path=12))

    async def go() -> tuple[Growth, SglangServer]:
        async with server, SglangServer(server.url, model=model, **{"retry": QUICK, **options}) as client:
            growth = await grow_forest_async(
                frame, strategies=strategies or [small], engine=client, tokenizer=Letters(), concurrency=8
            )
            return growth, client

    return asyncio.run(go())
