"""A judge behind OpenAI's completions: /v1/completions with the log-probs of the most probable tokens.

SGLang and vLLM serve them, and others. A prompt is sent as text, so a special token that a problem, a step or a
critique spells out would be one to the server: a problem or step that does is refused, a critique ends before it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from eduprm.core.retry import RetryableError, RetrySettings
from eduprm.serve.calls import Calls, RefusedError
from eduprm.serve.judge.prompts import Parts
from eduprm.serve.judge.scorer import Critique, JudgeRefusalError
from eduprm.serve.wire import ServedPrmError

__all__ = ["RemoteJudge", "judge_models"]

_INFO_LIMIT_S = 10.0
_NOT_TAKEN = (400, 413, 422)
_NOT_ALLOWED = (401, 403)
_CONTROL = re.compile(
    r"<[|\uff5c][^<>\n]{1,60}[|\uff5c]>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<\|?endoftext\|?>"
)


def judge_models(url: str, *, key: str | None = None, retry: RetrySettings | None = None) -> list[str]:
    """Names of the models that a server says it has.

    Args:
        url: of the server, `http://host:port`.
        key: of its API, if it wants one; in no message.
        retry: how often and after what waits a failed request is sent again.

    Raises:
        ServedPrmError: nobody answers, no server of completions, or one that wants another key.
    """

    async def run() -> bytes:
        calls = _calls(url, 1, retry, key)
        calls.open()
        try:
            return await _asked(calls, "GET", "/v1/models", key=key, limit_s=_INFO_LIMIT_S)
        finally:
            await calls.close()

    answer = asyncio.run(run())
    try:
        return [str(one["id"]) for one in json.loads(answer)["data"]]
    except (ValueError, KeyError, TypeError):
        raise ServedPrmError(f"{url} does not say which models it has, as OpenAI's API does") from None


class RemoteJudge:
    """A model of a server.

    Args:
        url: of the server, `http://host:port`.
        model: what it calls the model.
        max_tokens: of a critique.
        temperature: of its draws.
        top_logprobs: most probable tokens among which Yes and No are sought; the others count 0.
        max_requests: most requests on their way at once.
        limit_s: longest wait for one answer, in seconds.
        key: of the server's API, if it wants one; in no message.
        retry: how often and after what waits a failed request is sent again.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        max_tokens: int,
        temperature: float,
        top_logprobs: int = 20,
        max_requests: int = 16,
        limit_s: float = 600.0,
        key: str | None = None,
        retry: RetrySettings | None = None,
    ) -> None:
        self._url, self._model, self._retry = url, model, retry
        self._limit_s, self._key = limit_s, key
        self._written = {"max_tokens": max_tokens, "temperature": temperature}
        self._top, self._max_requests = top_logprobs, max_requests

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Connections, for as long as it lasts."""
        self._calls = _calls(self._url, self._max_requests, self._retry, self._key)
        self._places = asyncio.Semaphore(self._max_requests)
        self._calls.open()
        try:
            yield
        finally:
            await self._calls.close()

    async def critique(self, asked: Parts, *, seed: int) -> Critique:
        """Drawn by the server; how far its draws repeat is the server's affair."""
        answer = await self._complete(asked, seed=seed, **self._written)
        try:
            text, tokens = answer["choices"][0]["text"], (answer.get("usage") or {}).get("prompt_tokens", 0)
        except (KeyError, IndexError, TypeError, AttributeError):
            raise ServedPrmError(f"{self._url} answered something else than a completion") from None
        if not isinstance(text, str):
            raise ServedPrmError(f"{self._url} answered something else than a completion")
        return Critique(_CONTROL.split(text)[0], tokens if isinstance(tokens, int) else 0)

    async def verdict(self, asked: Parts) -> tuple[float, float]:
        """Sums over the listed tokens that are the word, blanks and case aside."""
        answer = await self._complete(asked, max_tokens=1, temperature=0.0, logprobs=self._top)
        try:
            listed = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            chances = [(str(token).strip().lower(), float(logprob)) for token, logprob in listed.items()]
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise ServedPrmError(
                f"{self._url} gave no log-probs of the next token, as completions with logprobs={self._top} do"
            ) from None
        if any(math.isnan(logprob) or logprob > 1e-3 for _, logprob in chances):
            raise ServedPrmError(f"{self._url} gave log-probs that are none")
        yes, no = (
            sum(math.exp(logprob) for token, logprob in chances if token == word) for word in ("yes", "no")
        )
        return yes, no

    async def _complete(self, asked: Parts, **how: Any) -> Any:
        for text, trusted in asked:
            if not trusted and (mark := _CONTROL.search(text)):
                raise JudgeRefusalError(
                    f"{mark[0]!r} in it would end a turn of the judge's prompt; take it out, or judge without a URL"
                )
        body = {"model": self._model, "prompt": "".join(text for text, _ in asked), **how}
        async with self._places:
            try:
                answer = await _asked(
                    self._calls, "POST", "/v1/completions",
                    key=self._key, limit_s=self._limit_s, body=json.dumps(body).encode(),
                )  # fmt: skip
            except RefusedError as error:
                if error.status not in _NOT_TAKEN:
                    raise
                raise JudgeRefusalError(f"the server does not take it: {error.reason}") from None
        self._calls.note_scores()
        try:
            return json.loads(answer)
        except ValueError:
            raise ServedPrmError(f"{self._url} answered something else than JSON") from None


def _calls(url: str, connections: int, retry: RetrySettings | None, key: str | None) -> Calls:
    headers = {"Authorization": f"Bearer {key}"} if key else None
    return Calls(
        url.rstrip("/").removesuffix("/v1"),  # many write the base of OpenAI's API, which holds it
        kind="a server of completions",
        max_connections=connections,
        retry=retry,
        headers=headers,
    )


async def _asked(calls: Calls, method: str, route: str, *, key: str | None, **how: Any) -> bytes:
    """The answer to one call; a server that repeats the key in what it refuses is quoted without it."""
    try:
        return await calls.call(method, route, **how)
    except RefusedError as error:
        reason = _without(key, error.reason)
        message = _without(key, str(error))
        if error.status in _NOT_ALLOWED:
            wrong = "refuses the API key" if key else "wants an API key"
            message = f"{calls.url} {wrong} ({reason}); give --judge.key-env, the environment variable that holds one"
        raise RefusedError(message, status=error.status, reason=reason) from None
    except ServedPrmError as error:
        slow = isinstance(error.__cause__, RetryableError) and error.__cause__.cause == "no answer in time"
        advice = "; give a longer --judge.limit-s or fewer --judge.max-tokens" if slow else ""
        raise ServedPrmError(_without(key, str(error)) + advice) from None


def _without(key: str | None, text: str) -> str:
    """The text with the key, or the beginning of one that was cut, taken out."""
    if not key:
        return text
    text = text.replace(key, "[the key]")
    cut = next((n for n in range(len(key) - 1, 7, -1) if text.endswith(key[:n])), 0)
    return text[: len(text) - cut] + "[the key]" if cut else text
