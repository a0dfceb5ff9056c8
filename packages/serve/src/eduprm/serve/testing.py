"""SGLang's /generate as far as log-probs of the input go, on a free port of loopback, in a thread.

For tests of what reads a language-model server. It answers as SGLang 0.5.23 does and knows no model: what gives the
log-probs is passed in.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from aiohttp import web

__all__ = ["LanguageModelServing"]


class LoopbackServing:
    """Serves routes on a free port of loopback, in a thread, inside `with`; `url` is where, once it is entered."""

    def __init__(self, *routes: web.RouteDef) -> None:
        self.url = ""
        self._routes = routes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.add_routes(self._routes)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"


class LanguageModelServing(LoopbackServing):
    """Serves inside `with`; `url` is where.

    Args:
        logprobs: takes token ids, gives the log-prob of each but the first after those before it.
        model: the path that it says it runs.
        context: inputs of as many tokens are refused with 400.
        fault: takes a body and how many came before it; None: answer, else this response.

    Attributes:
        url: once it is entered.
        bodies: of all calls of /generate.
        most_in_flight: the most that were answered at once.
    """

    def __init__(
        self,
        logprobs: Callable[[Sequence[int]], Sequence[float]],
        *,
        model: str = "/models/tiny",
        context: int = 1000,
        fault: Callable[[dict[str, Any], int], web.Response | None] = lambda body, number: None,
    ) -> None:
        self._logprobs, self.model, self._context, self._fault = logprobs, model, context, fault
        self.bodies: list[dict[str, Any]] = []
        self.most_in_flight = self._in_flight = 0
        super().__init__(web.get("/model_info", self._model_info), web.post("/generate", self._generate))

    async def _model_info(self, _: web.Request) -> web.Response:
        answer = {"model_path": self.model, "is_generation": True, "weight_version": "default"}
        return web.json_response(answer)

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            await asyncio.sleep(0.005)
            return self._fault(body, number) or self._answer(body)
        finally:
            self._in_flight -= 1

    def _answer(self, body: dict[str, Any]) -> web.Response:
        ids, start = body["input_ids"], body["logprob_start_len"]
        if len(ids) >= self._context:
            message = (
                f"The input ({len(ids)}) is longer than the model's context length ({self._context} tokens)"
            )
            return web.json_response({"error": {"message": message}}, status=400)
        logprobs = [None, *map(float, self._logprobs(ids))]
        logprobs[start] = None  # the logits before it are not computed
        entries = [
            [logprob, token, None] for logprob, token in zip(logprobs[start:], ids[start:], strict=True)
        ]
        meta = {"prompt_tokens": len(ids), "completion_tokens": 0, "input_token_logprobs": entries}
        return web.json_response({"text": "", "output_ids": [], "meta_info": meta})
