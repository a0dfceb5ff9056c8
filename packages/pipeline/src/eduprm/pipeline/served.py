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

    assert settings.url is not None  # TrainSettings checks it
    try:
        server = SglangServer(settings.url, model=settings.policy.model, **settings.server.client_options())
    except ValueError as error:
        raise UsageError(f"--policy.model: {error}") from None

    async def entered() -> T:
        async with server:
            return await use(server)

    try:
        return asyncio.run(entered())
    except EngineMismatchError as error:
        raise UsageError(f"--url: {error}") from None
