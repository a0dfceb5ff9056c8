"""Calls of an HTTP service that may fail and are made again: with back-off, within a patience.

For the clients of this package. What may pass (no connection, 429, 5xx, a call that took too long) is tried again;
what will not is a `RefusedError`. It knows neither routes nor what is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import time

import aiohttp

from eduprm.serve.retry import RetrySettings
from eduprm.serve.wire import ServedPrmError

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class RefusedError(ServedPrmError):
    """The service answered, and will answer the same again; `status` and `reason`, what it said."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class _AgainError(Exception):
    """An attempt failed in a way that another may not; `asked_s`: how long the service asks to wait."""

    def __init__(self, reason: str, *, asked_s: float = 0.0) -> None:
        super().__init__(reason)
        self.asked_s = asked_s


class Calls:
    """Connections to one service, between `open` and `close`.

    Args:
        url: of the service, without a slash at the end.
        kind: what should answer there, for the message.
        max_connections: most at once.
        retry: how often and after what waits a failed call is made again.

    Attributes:
        num_retries: calls made again so far.
    """

    def __init__(self, url: str, *, kind: str, max_connections: int, retry: RetrySettings | None) -> None:
        self.url = url.rstrip("/")
        self._kind = kind
        self._max_connections = max_connections
        self._retry = retry or RetrySettings()
        self._session: aiohttp.ClientSession | None = None
        self._scored_s = 0.0
        self.num_retries = 0

    def open(self) -> None:
        """Get ready, inside a running event loop.

        Raises:
            ServedPrmError: no URL.
        """
        if not self.url.startswith(("http://", "https://")):
            raise ServedPrmError(
                f"expected the URL of {self._kind}, such as http://127.0.0.1:8377, got {self.url!r}"
            )
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._max_connections))
        self.note_scores()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def note_scores(self) -> None:
        """Begin the patience anew: scores came, or nothing was asked until now."""
        self._scored_s = time.monotonic()

    async def call(self, method: str, route: str, *, limit_s: float, body: bytes | None = None) -> str:
        """Call until it works, the attempts are used up, or the patience is; gives the answer's text.

        Raises:
            RefusedError: the service refuses the call, or is none.
            ServedPrmError: no answer.
        """
        key = hashlib.sha256(body or route.encode()).hexdigest()
        for attempt in range(1, self._retry.attempts + 1):
            try:
                return await self._once(method, route, limit_s=limit_s, body=body)
            except _AgainError as error:
                wait_s = self._retry.wait_s(key, attempt, asked_s=error.asked_s)
                silent_s = time.monotonic() - self._scored_s
                if attempt == self._retry.attempts or silent_s + wait_s > self._retry.patience_s:
                    raise ServedPrmError(
                        f"{self.url} gives no scores: {error} ({attempt} attempts in {silent_s:.0f} s)"
                    ) from error
                self.num_retries += 1
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _once(self, method: str, route: str, *, limit_s: float, body: bytes | None) -> str:
        """One attempt at one call; `_AgainError` where another may fare better."""
        if self._session is None:
            raise RuntimeError("the client is not connected: use it inside `async with`")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=10.0)
        try:
            async with self._session.request(
                method, self.url + route, data=body, headers=headers, timeout=limit
            ) as response:
                text = await response.text(errors="replace")
        except TimeoutError as error:
            raise _AgainError(f"no answer within {limit_s:g} s") from error
        except aiohttp.InvalidURL as error:
            raise ServedPrmError(f"{self.url} is no URL") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _AgainError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from error
        if response.status == 200:
            return text
        reason = f"{route} answered {response.status}: {' '.join(text.split())[:300]}"
        if response.status in _RETRYABLE_STATUS:
            raise _AgainError(reason, asked_s=_asked_s(response.headers.get("Retry-After")))
        raise RefusedError(f"{self.url}: {reason}", status=response.status, reason=reason)


def first_error(errors: BaseExceptionGroup) -> BaseException:
    """The first single error of a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _asked_s(header: str | None) -> float:
    """Seconds of a Retry-After; dates and nonsense count as none, and nobody makes us wait for more than a minute."""
    try:
        return min(max(float(header or 0.0), 0.0), 60.0)
    except ValueError:
        return 0.0
