"""A run's SGLang server: entered once for each use, with its faults as one line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from eduprm.core.command_line import UsageError
from eduprm.pipeline.settings import TrainSettings
from eduprm.search import EngineMismatchError

if TYPE_CHECKING:
    from eduprm.search.sglang import SglangServer

T = TypeVar("T")


def on_server(settings: TrainSettings, use: Callable[[SglangServer], Awaitable[T]]) -> T:
    """What `use` gives, called with the entered server of `--url`.

    Raises:
        UsageError: the policy's files cannot be read here, or the server is not the one asked for.
    """
    from eduprm.search.sglang import SglangServer

    options = settings.server.client_options()
    assert settings.url is not None  # TrainSettings checks it
    try:
        server = SglangServer(settings.url, model=settings.policy.model, **options)
    except ValueError as error:
        raise UsageError(f"--policy.model: {error}") from None

    async def entered() -> T:
        async with server:
            return await use(server)

    try:
        return asyncio.run(entered())
    except EngineMismatchError as error:
        advice = _about_key(error, given=settings.server.key_env)
        raise UsageError(f"--url: {error}{advice}") from None


def _about_key(error: BaseException | None, *, given: str | None) -> str:
    """What to do where the server lets nobody in without its key."""
    from eduprm.core.http import RefusedCallError

    while error is not None and not isinstance(error, RefusedCallError):
        error = error.__cause__
    if error is None or error.status not in (401, 403):
        return ""
    if given:
        return f"; the server refuses the API key: put its own into the environment variable {given}"
    return "; the server wants an API key: give --server.key-env, the environment variable that holds it"
