"""One service behind a URL: connections, a call, and whether one that failed may fare better.

For all clients of the project, with the extra `http`. How often a call is made again is theirs to say
(`eduprm.core.retry`).
"""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from eduprm.core.retry import RetryableError

__all__ = ["HttpService", "RefusedCallError"]

_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
# A full queue, and a service or a router with nobody behind it. A 502 may be of a worker that died of this call.
_UNTAKEN = frozenset({429, 503})
_LONGEST_ASKED_S = 60.0


class RefusedCallError(Exception):
    """The service answered, and will answer the same again; `status` and `reason`, what it said."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class HttpService:
    """Connections to one service, between `open` and `close`.

    Args:
        url: of the service.
        max_connections: most at once.
        headers: of every call; a bearer's key in them is taken out of what the service is quoted with.
    """

    def __init__(self, url: str, *, max_connections: int, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._max_connections = max_connections
        self._headers = dict(headers or {})
        self._key = self._headers.get("Authorization", "").removeprefix("Bearer ")
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Get ready, inside a running event loop."""
        connector = aiohttp.TCPConnector(limit=self._max_connections)
        self._session = aiohttp.ClientSession(headers=self._headers, connector=connector)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        method: str,
        route: str,
        *,
        limit_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """One attempt at one call; gives the answer's body.

        Args:
            method: GET or POST.
            route: with a slash in front.
            limit_s: longest wait for the whole answer.
            body: JSON.
            headers: of this call.

        Raises:
            RetryableError: no answer, or one that another attempt may better (408, 425, 429, 5xx).
            RefusedCallError: the service refuses the call, or the URL is none.
        """
        if self._session is None:
            raise RuntimeError("the client is not connected: use it inside `async with`")
        kind = {} if body is None else {"Content-Type": "application/json"}
        limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=10.0)
        try:
            async with self._session.request(
                method, self.url + route, data=body, headers={**kind, **(headers or {})}, timeout=limit
            ) as response:
                answer = await response.read()
        except TimeoutError as error:
            raise RetryableError(f"no answer within {limit_s:g} s", cause="no answer in time") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            message = f"{self.url} is no URL: expected http:// or https:// and a host"
            raise RefusedCallError(message, status=0, reason="is no URL") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            lost = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            refused = isinstance(error, aiohttp.ClientConnectorError)
            raise RetryableError(lost, cause="connection refused or lost", taken=not refused) from error
        if response.status == 200:
            return answer
        text = " ".join(answer.decode("utf-8", errors="replace").split())
        text = (text.replace(self._key, "[the key]") if self._key else text)[:300]
        reason = f"{route} answered {response.status}: {text}"
        if response.status in _MAY_PASS:
            asked_s = _asked_s(response.headers.get("Retry-After"))
            taken = response.status not in _UNTAKEN
            raise RetryableError(reason, cause=f"status {response.status}", asked_s=asked_s, taken=taken)
        raise RefusedCallError(f"{self.url}: {reason}", status=response.status, reason=reason)


def _asked_s(header: str | None) -> float:
    """Seconds of a Retry-After; dates and nonsense count as none, and nobody makes us wait for more than a minute."""
    try:
        return min(max(float(header or 0.0), 0.0), _LONGEST_ASKED_S)
    except ValueError:
        return 0.0
