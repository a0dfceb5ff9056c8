"""Calls of an HTTP service that may fail and are made again: with back-off, within a patience.

For the clients of this package. What may pass (no connection, 429, 5xx, a call that took too long) is tried again;
what will not is a `RefusedError`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Mapping

from eduprm.core.http import HttpService, RefusedCallError
from eduprm.core.retry import Attempts, RetryableError, RetrySettings
from eduprm.serve.wire import ServedPrmError


class RefusedError(ServedPrmError):
    """The service answered, and will answer the same again; `status` and `reason`, what it said."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


# A PRM that scores is asked in short calls, and a run waits for it: many attempts, within a minute of silence.
_STUBBORN = RetrySettings(attempts=12, longest_wait_s=15.0, patience_s=60.0)


class Calls:
    """Connections to one service, between `open` and `close`.

    Args:
        url: of the service, without a slash at the end.
        kind: what should answer there, for the message.
        max_connections: most at once.
        retry: how often and after what waits a failed call is made again; None: 12 attempts within a minute without
            scores.
        headers: of every call.

    Attributes:
        num_retries: calls made again so far.
    """

    def __init__(
        self,
        url: str,
        *,
        kind: str,
        max_connections: int,
        retry: RetrySettings | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._service = HttpService(url, max_connections=max_connections, headers=headers)
        self.url = self._service.url
        self._kind = kind
        self._retry = retry or _STUBBORN
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
        self._service.open()
        self.note_scores()

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    def note_scores(self) -> None:
        """Begin the patience anew: scores came, or nothing was asked until now."""
        self._scored_s = time.monotonic()

    async def call(self, method: str, route: str, *, limit_s: float, body: bytes | None = None) -> bytes:
        """Call until it works, the attempts are used up, or the patience is; gives the answer's body.

        Raises:
            RefusedError: the service refuses the call, or is none.
            ServedPrmError: no answer.
        """
        attempts = Attempts(self._retry, hashlib.sha256(body or route.encode()).hexdigest())
        while True:
            try:
                return await self._service.call(method, route, limit_s=limit_s, body=body)
            except RefusedCallError as error:
                raise RefusedError(str(error), status=error.status, reason=error.reason) from error
            except RetryableError as error:
                silent_s = time.monotonic() - self._scored_s
                wait_s = attempts.wait_s(error, silent_s=silent_s)
                if wait_s is None:
                    raise ServedPrmError(
                        f"{self.url} gives no scores: {error} ({attempts.num} attempts in {silent_s:.0f} s)"
                    ) from error
                self.num_retries += 1
                await asyncio.sleep(wait_s)


def first_error(errors: BaseExceptionGroup) -> BaseException:
    """The first single error of a group."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
