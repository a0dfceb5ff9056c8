"""The client of a PRM service: asynchronous, bounded, in order, stubborn within reason.

What may pass (no connection, 429, 5xx, a request that took too long) is tried again with back-off; what will not (a
request that the service refuses, another PRM than at the start) is a `ServedPrmError` of one line. A solution that
cannot be scored, too long for instance, spoils nothing but itself. Loads neither torch nor any part of the service.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from types import TracebackType

import aiohttp
from pydantic import ValidationError

from eduprm.serve.requests import request_fault, request_groups
from eduprm.serve.retry import RetrySettings
from eduprm.serve.wire import (
    API,
    ModelInfo,
    ScoreRequest,
    ScoreResponse,
    ServedPrmError,
    Solution,
    SolutionResult,
)

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_INFO_LIMIT_S = 10.0


class _AgainError(Exception):
    """An attempt failed in a way that another may not; `asked_s`: how long the service asks to wait."""

    def __init__(self, reason: str, *, asked_s: float = 0.0) -> None:
        super().__init__(reason)
        self.asked_s = asked_s


class PrmClient:
    """A PRM behind a URL; enter it (`async with`) before use.

    Args:
        url: of the service, `http://host:port`.
        identity: what the PRM has to be (see `ModelInfo`); None: whatever it is when the client connects. It may not
            change from then on.
        max_requests: most requests on their way at once.
        request_solutions: most solutions in a request, if the service allows as many.
        retry: how often and after what waits a failed request is sent again.

    Attributes:
        num_retries: requests sent again so far.

    Examples:
        An async context::

            async with PrmClient("http://127.0.0.1:8377") as prm:
                results = await prm.score_many([Solution(problem="2*3*4?", steps=["2*3 = 6", "6*4 = 24"])])
                results[0].scores  # one per step
    """

    def __init__(
        self,
        url: str,
        *,
        identity: str | None = None,
        max_requests: int = 8,
        request_solutions: int = 16,
        retry: RetrySettings | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._identity = identity
        self._max_requests = max_requests
        self._request_solutions = request_solutions
        self._retry = retry or RetrySettings()
        self._session: aiohttp.ClientSession | None = None
        self._info: ModelInfo | None = None
        self._scored_s = 0.0
        self.num_retries = 0

    @property
    def info(self) -> ModelInfo:
        """Which PRM answers."""
        if self._info is None:
            raise RuntimeError("the client is not connected: use it inside `async with`")
        return self._info

    async def __aenter__(self) -> PrmClient:
        """Connect, waiting for a service that does not answer yet, and ask which PRM it is.

        Raises:
            ServedPrmError: nobody answers, no PRM service, or another PRM.
        """
        if not self._url.startswith(("http://", "https://")):
            raise ServedPrmError(
                f"expected the URL of a PRM service, such as http://127.0.0.1:8377, got {self._url!r}"
            )
        self._places = asyncio.Semaphore(self._max_requests)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._max_requests + 1))
        self._scored_s = time.monotonic()
        try:
            self._info = await self._ask_model()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._close()

    async def score_many(self, solutions: Sequence[Solution]) -> list[SolutionResult]:
        """Score solutions; one result each, in order.

        Raises:
            ServedPrmError: the service went away for longer than the patience, refuses a request as a whole, or became
                another PRM.
        """
        refused = [request_fault(solution, self.info.limits) for solution in solutions]
        sent = [index for index, fault in enumerate(refused) if fault is None]
        most = min(self._request_solutions, self.info.limits.max_solutions)
        groups = list(request_groups(solutions, sent, most=most, max_bytes=self.info.limits.max_body_bytes))
        self._scored_s = time.monotonic()  # the patience does not count the time between calls
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._score([solutions[i] for i in group])) for group in groups]
        except* ServedPrmError as errors:
            raise _first(errors) from None
        results = [SolutionResult(refused=fault) for fault in refused]
        for group, task in zip(groups, running, strict=True):
            for index, result in zip(group, task.result(), strict=True):
                results[index] = result
        return results

    async def _score(self, solutions: Sequence[Solution]) -> list[SolutionResult]:
        body = ScoreRequest(solutions=list(solutions)).model_dump_json().encode()
        async with self._places:
            text = await self._stubbornly(
                "POST", "/v1/score", limit_s=self.info.limits.timeout_s + 10.0, body=body
            )
        try:
            answer = ScoreResponse.model_validate_json(text)
        except ValidationError as error:
            raise ServedPrmError(
                f"{self._url} answered something else than scores ({error.error_count()} faults)"
            ) from None
        if answer.identity != self.info.identity:
            raise ServedPrmError(
                f"{self._url} serves another PRM now (identity {answer.identity[:12]}, was {self.info.identity[:12]})"
            )
        wanted = [len(solution.steps) for solution in solutions]
        got = [None if result.scores is None else len(result.scores) for result in answer.results]
        if len(got) != len(wanted) or any(n not in (None, w) for n, w in zip(got, wanted, strict=True)):
            raise ServedPrmError(f"{self._url} did not give one score per step: expected {wanted}, got {got}")
        self._scored_s = time.monotonic()
        return answer.results

    async def _ask_model(self) -> ModelInfo:
        try:
            text = await self._stubbornly("GET", "/v1/model", limit_s=_INFO_LIMIT_S)
            info = ModelInfo.model_validate_json(text)
        except ValidationError:
            raise ServedPrmError(
                f"{self._url} is no PRM service of this version; see docs/serve.md"
            ) from None
        if info.api != API:
            raise ServedPrmError(f"{self._url} speaks version {info.api} of the contract, this client {API}")
        if self._identity not in (None, info.identity):
            raise ServedPrmError(
                f"{self._url} serves another PRM (identity {info.identity[:12]}, expected {str(self._identity)[:12]})"
            )
        return info

    async def _stubbornly(self, method: str, route: str, *, limit_s: float, body: bytes | None = None) -> str:
        """Call until it works, the attempts are used up, or the patience is."""
        key = hashlib.sha256(body or route.encode()).hexdigest()
        for attempt in range(1, self._retry.attempts + 1):
            try:
                return await self._call(method, route, limit_s=limit_s, body=body)
            except _AgainError as error:
                wait_s = self._retry.wait_s(key, attempt, asked_s=error.asked_s)
                silent_s = time.monotonic() - self._scored_s
                if attempt == self._retry.attempts or silent_s + wait_s > self._retry.patience_s:
                    raise ServedPrmError(
                        f"{self._url} gives no scores: {error} ({attempt} attempts in {silent_s:.0f} s)"
                    ) from error
                self.num_retries += 1
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _call(self, method: str, route: str, *, limit_s: float, body: bytes | None) -> str:
        """One attempt at one call.

        Raises:
            _AgainError: no answer, or one that another attempt may better.
            ServedPrmError: the service refuses the request, or is none.
        """
        if self._session is None:
            raise RuntimeError("the client is not connected: use it inside `async with`")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        limit = aiohttp.ClientTimeout(total=limit_s, sock_connect=10.0)
        try:
            async with self._session.request(
                method, self._url + route, data=body, headers=headers, timeout=limit
            ) as response:
                text = await response.text(errors="replace")
        except TimeoutError as error:
            raise _AgainError(f"no answer within {limit_s:g} s") from error
        except aiohttp.InvalidURL as error:
            raise ServedPrmError(f"{self._url} is no URL") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _AgainError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from error
        if response.status == 200:
            return text
        reason = f"{route} answered {response.status}: {' '.join(text.split())[:300]}"
        if response.status in _RETRYABLE_STATUS:
            raise _AgainError(reason, asked_s=_asked_s(response.headers.get("Retry-After")))
        raise ServedPrmError(f"{self._url}: {reason}")

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def score_served(
    url: str,
    solutions: Sequence[Solution],
    *,
    identity: str | None = None,
    retry: RetrySettings | None = None,
) -> tuple[ModelInfo, list[SolutionResult]]:
    """Connect, score and leave, for callers without an event loop; no solutions: only ask which PRM it is.

    Raises:
        ServedPrmError: as `PrmClient`.
    """

    async def run() -> tuple[ModelInfo, list[SolutionResult]]:
        async with PrmClient(url, identity=identity, retry=retry) as client:
            return client.info, await client.score_many(solutions)

    return asyncio.run(run())


def _first(errors: BaseExceptionGroup) -> BaseException:
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
