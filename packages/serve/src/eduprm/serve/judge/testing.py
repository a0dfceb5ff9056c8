"""OpenAI's /v1/models and /v1/completions on a free port of loopback, in a thread, answered by a real model.

For tests of what asks such a server. The model is a causal language model of transformers with its tokenizer, decoded
plainly; prompts are parsed as servers parse them, special tokens included.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import torch
from aiohttp import web

from eduprm.serve.testing import LoopbackServing

__all__ = ["CompletionServing"]


class CompletionServing(LoopbackServing):
    """The server.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: of transformers.
        name: what the server calls it.
        fault: takes a body and how many came before it, and may wait; None: answer, else this response.
        key: of its API; who sends another is refused with 401, and the refusal repeats what was sent.

    Attributes: `url`; `bodies` of all completions asked for; `key`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "a-judge",
        fault: Callable[
            [dict[str, Any], int], web.Response | Awaitable[web.Response | None] | None
        ] = lambda body, number: None,
        key: str | None = None,
    ) -> None:
        self._model, self._tokenizer, self._name, self._fault = model, tokenizer, name, fault
        self.key = key
        self.bodies: list[dict[str, Any]] = []
        super().__init__(web.get("/v1/models", self._models), web.post("/v1/completions", self._completions))

    def _refusal(self, request: web.Request) -> web.Response | None:
        sent = request.headers.get("Authorization", "")
        if self.key is None or sent == f"Bearer {self.key}":
            return None
        message = f"Incorrect API key provided: {sent.removeprefix('Bearer ')}"
        return web.json_response({"error": {"message": message}}, status=401)

    async def _models(self, request: web.Request) -> web.Response:
        return self._refusal(request) or web.json_response(
            {"object": "list", "data": [{"id": self._name, "object": "model"}]}
        )

    async def _completions(self, request: web.Request) -> web.Response:
        if (refused := self._refusal(request)) is not None:
            return refused
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        found = self._fault(body, number)
        found = await found if inspect.isawaitable(found) else found
        return found or web.json_response(self._answer(body))

    @torch.inference_mode()
    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = self._tokenizer.encode(body["prompt"], add_special_tokens=False)
        drawn, listed = list(ids), []
        random = torch.Generator().manual_seed(body.get("seed", 0))
        for _ in range(body["max_tokens"]):
            logprobs = self._model(input_ids=torch.tensor([drawn])).logits[0, -1].float().log_softmax(-1)
            top = logprobs.topk(body.get("logprobs") or 1)
            listed.append({self._tokenizer.decode([int(k)]): float(v) for v, k in zip(*top, strict=True)})
            heat = body["temperature"]
            drawn_one = (
                torch.multinomial((logprobs / heat).softmax(-1), 1, generator=random) if heat else None
            )
            token = int(top.indices[0] if drawn_one is None else drawn_one)
            drawn.append(token)
            if token == self._tokenizer.eos_token_id:
                break
        text = self._tokenizer.decode(drawn[len(ids) :], skip_special_tokens=True)
        choice = {"text": text, "logprobs": {"top_logprobs": listed} if body.get("logprobs") else None}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(drawn) - len(ids)}
        return {"choices": [{"index": 0, **choice}], "usage": usage}
