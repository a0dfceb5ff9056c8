"""The client of a PRM service: asynchronous, bounded, in order, stubborn within reason.

What may pass (no connection, 429, 5xx, a request that took too long) is tried again with back-off; what will not (a
request that the service refuses, another PRM than at the start) is a `ServedPrmError` of one line. A solution that
cannot be scored, too long for instance, spoils nothing but itself. Loads neither torch nor any part of the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

from pydantic import ValidationError

from eduprm.core.retry import RetrySettings
from eduprm.serve.calls import Calls, first_error
from eduprm.serve.requests import request_fault, request_groups
from eduprm.serve.wire import (
    API,
    ModelInfo,
    ScoreRequest,
    ScoreResponse,
    ServedPrmError,
    Solution,
    SolutionResult,
)

_INFO_LIMIT_S = 10.0


class PrmClient:
    """A PRM behind a URL; enter it (`async with`) before use.

    Args:
        url: of the service, `http://host:port`.
        identity: what the PRM has to be (see `ModelInfo`); None: whatever it is when the client connects. It may not
            change from then on.
        max_requests: most requests on their way at once.
        request_solutions: most solutions in a request, if the service allows as many.
        retry: how often and after what waits a failed request is sent again.

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
        self._calls = Calls(url, kind="a PRM service", max_connections=max_requests + 1, retry=retry)
        self._url = self._calls.url
        self._identity = identity
        self._max_requests = max_requests
        self._request_solutions = request_solutions
        self._info: ModelInfo | None = None

    @property
    def num_retries(self) -> int:
        """Requests sent again so far."""
        return self._calls.num_retries

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
        self._places = asyncio.Semaphore(self._max_requests)
        self._calls.open()
        try:
            self._info = await self._ask_model()
        except BaseException:
            await self._calls.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._calls.close()

    async def score_many(self, solutions: Sequence[Solution]) -> list[SolutionResult]:
        """Score solutions; one result each, in order.

        Raises:
            ServedPrmError: the service went away for longer than the patience, refuses a request as a whole, or became
                another PRM.
        """
        rejected = [request_fault(solution, self.info.limits) for solution in solutions]
        sent = [index for index, fault in enumerate(rejected) if fault is None]
        most = min(self._request_solutions, self.info.limits.max_solutions)
        groups = list(request_groups(solutions, sent, most=most, max_bytes=self.info.limits.max_body_bytes))
        self._calls.note_scores()  # the patience does not count the time between calls
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._score([solutions[i] for i in group])) for group in groups]
        except* ServedPrmError as errors:
            raise first_error(errors) from None
        results = [SolutionResult(rejected=fault) for fault in rejected]
        for group, task in zip(groups, running, strict=True):
            for index, result in zip(group, task.result(), strict=True):
                results[index] = result
        return results

    async def _score(self, solutions: Sequence[Solution]) -> list[SolutionResult]:
        body = ScoreRequest(solutions=list(solutions)).model_dump_json().encode()
        async with self._places:
            got_back = await self._calls.call(
                "POST", "/v1/score", limit_s=self.info.limits.timeout_s + 10.0, body=body
            )
        try:
            answer = ScoreResponse.model_validate_json(got_back)
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
        self._calls.note_scores()
        return answer.results

    async def _ask_model(self) -> ModelInfo:
        try:
            answer = await self._calls.call("GET", "/v1/model", limit_s=_INFO_LIMIT_S)
            info = ModelInfo.model_validate_json(answer)
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
