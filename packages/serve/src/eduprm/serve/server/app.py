"""The routes: bodies are bounded while they are read, checked, queued, and answered as JSON whatever happens.

Every error is one JSON object with one clear line, {"error", "status"}.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from eduprm.serve.server.batching import Batcher, Job, QueueFullError, ScoringError, StoppingError
from eduprm.serve.wire import ModelInfo, ScoreRequest, ScoreResponse, Solution, SolutionResult

_SHOWN_CHARS = 60
_DRAINED = 8  # times the largest body
_IDLE_S = 5.0  # a worker that is not done by then computes what nobody waits for


class _RefusedError(Exception):
    """An answer other than scores."""

    def __init__(self, status: int, reason: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


def build_app(batcher: Batcher, info: ModelInfo, *, max_requests: int = 256) -> FastAPI:
    """The application over a batcher, which it starts and stops with itself.

    Args:
        batcher: queue and worker, not started.
        info: what /v1/model says; its limits hold here.
        max_requests: most requests at once, those included whose body is still coming.
    """
    state = _Service(batcher, info, max_requests=max_requests)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        state.stopping = True
        await asyncio.to_thread(batcher.stop, wait_s=_IDLE_S)

    # Neither docs page: both load scripts from a content network.
    app = FastAPI(title="eduprm PRM", lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = state
    app.add_exception_handler(_RefusedError, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _crash)
    app.get("/health")(state.health)
    app.get("/v1/model")(state.model)
    schema = {"content": {"application/json": {"schema": ScoreRequest.model_json_schema()}}, "required": True}
    app.post("/v1/score", response_model=ScoreResponse, openapi_extra={"requestBody": schema})(state.score)
    return app


class _Service:
    """The handlers, with what they share."""

    def __init__(self, batcher: Batcher, info: ModelInfo, *, max_requests: int) -> None:
        self.batcher = batcher
        self.info = info
        self.stopping = False
        self._max_requests = max_requests
        self._num_requests = 0

    async def health(self) -> JSONResponse:
        """Whether scores can be had now."""
        status = "stopping" if self.stopping else "ready" if self.batcher.alive else "failed"
        body = {"status": status, "waiting": self.batcher.num_waiting, "scored": self.batcher.num_scored}
        return JSONResponse(body, status_code=200 if status == "ready" else 503)

    async def model(self) -> JSONResponse:
        """Which PRM answers."""
        return JSONResponse(self.info.model_dump())

    async def score(self, request: Request) -> Response:
        """Score the steps of some solutions."""
        if self._num_requests >= self._max_requests:
            raise _RefusedError(429, f"{self._max_requests} requests are in work already", retry_after_s=1)
        self._num_requests += 1
        until_s = time.monotonic() + self.info.limits.timeout_s
        try:
            solutions = await self._read(request, until_s)
            results = await self._results(request, solutions, until_s)
        except asyncio.CancelledError:  # by the server, which waits no longer
            raise _RefusedError(503, "the service is being stopped", retry_after_s=5) from None
        finally:
            self._num_requests -= 1
        answer = ScoreResponse(identity=self.info.identity, results=results)
        return Response(answer.model_dump_json(), media_type="application/json")

    async def _read(self, request: Request, until_s: float) -> list[Solution]:
        limits = self.info.limits
        try:
            async with asyncio.timeout(until_s - time.monotonic()):
                body = await _bounded_body(request, limits.max_body_bytes)
        except TimeoutError:
            raise _RefusedError(408, f"the request did not arrive within {limits.timeout_s:g} s") from None
        except ClientDisconnect:
            raise _hung_up() from None
        try:
            solutions = ScoreRequest.model_validate_json(body).solutions
        except ValidationError as error:
            raise _RefusedError(422, _fault(error)) from None
        if len(solutions) > limits.max_solutions:
            raise _RefusedError(
                422, f"expected at most {limits.max_solutions} solutions a request, got {len(solutions)}"
            )
        for index, solution in enumerate(solutions):
            if len(solution.steps) > limits.max_steps:
                raise _RefusedError(
                    422,
                    f"solution {index}: expected at most {limits.max_steps} steps, got {len(solution.steps)}",
                )
            longest = max(len(solution.problem), *map(len, solution.steps))
            if longest > limits.max_chars:
                raise _RefusedError(
                    422,
                    f"solution {index}: expected texts of at most {limits.max_chars} characters, got {longest}",
                )
        return solutions

    async def _results(
        self, request: Request, solutions: list[Solution], until_s: float
    ) -> list[SolutionResult]:
        try:
            job = self.batcher.submit(solutions)
        except QueueFullError as error:
            raise _RefusedError(429, str(error), retry_after_s=error.retry_after_s) from None
        except StoppingError as error:
            raise _RefusedError(503, str(error), retry_after_s=5) from None
        try:
            await _done_or_gone(job, request, until_s - time.monotonic())
            return job.future.result()
        except ScoringError as error:
            raise _RefusedError(500, str(error)) from None
        except TimeoutError:
            raise _RefusedError(
                503, f"no scores within {self.info.limits.timeout_s:g} s", retry_after_s=5
            ) from None
        finally:
            job.cancelled = True  # nothing more is computed for a client that is answered or gone


def _hung_up() -> _RefusedError:
    # Nobody reads this answer; it ends the request as any other, without an error in the log.
    return _RefusedError(499, "the client closed the connection")


async def _done_or_gone(job: Job, request: Request, limit_s: float) -> None:
    """Wait for the job.

    Raises:
        TimeoutError: it takes too long.
        _RefusedError: the client has hung up.
    """
    gone: asyncio.Future[Any] = asyncio.ensure_future(
        request.receive()
    )  # the body is read: all that can come is the end
    both: set[asyncio.Future[Any]] = {job.future, gone}
    try:
        done, _ = await asyncio.wait(both, timeout=max(limit_s, 0.0), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if job.future in done:
        return
    if gone in done:
        raise _hung_up()
    raise TimeoutError


async def _bounded_body(request: Request, most: int) -> bytes:
    """The body; one that is too large is read on for a while and dropped, so that its sender hears why."""
    too_large = _RefusedError(413, f"expected a body of at most {most} bytes; send fewer solutions a request")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > _DRAINED * most:
        raise too_large
    body = bytearray()
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= most:
            body += piece
        elif size > _DRAINED * most:
            raise too_large
    if size > most:
        raise too_large
    return bytes(body)


def _fault(error: ValidationError) -> str:
    """The first fault as "place: what is wrong, got ...", with nothing of a text but its beginning."""
    item = error.errors(include_url=False)[0]
    place = ".".join(map(str, item["loc"])) + ": " if item["loc"] else ""
    if item["type"] == "json_invalid":
        return f"expected a JSON object with `solutions`: {' '.join(item['msg'].split())}"
    got = ascii(item["input"])
    shown = got if len(got) <= _SHOWN_CHARS else got[:_SHOWN_CHARS] + "..."
    more = f" ({error.error_count() - 1} more faults)" if error.error_count() > 1 else ""
    return f"{place}{item['msg']}, got {shown}{more}"


def _answer(status: int, reason: str, retry_after_s: int | None = None) -> JSONResponse:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body is not read
    return JSONResponse({"error": reason, "status": status}, status_code=status, headers=headers)


async def _refused(_: Request, error: Any) -> JSONResponse:
    return _answer(error.status, str(error), error.retry_after_s)


async def _http_error(request: Request, error: Any) -> JSONResponse:
    reason = f"{request.method} {request.url.path[:_SHOWN_CHARS]}: {error.detail}; see docs/serve.md"
    return _answer(error.status_code, reason)


async def _crash(_: Request, error: Exception) -> JSONResponse:
    return _answer(500, f"the service failed: {type(error).__name__}")
