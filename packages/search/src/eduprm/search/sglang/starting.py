"""Waiting for a server that is starting."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from eduprm.core.retry import RetryableError, RetrySettings
from eduprm.search.contract import EngineMismatchError

Answer = TypeVar("Answer")


async def started(ask: Callable[[], Awaitable[Answer]], *, wait_s: float) -> Answer:
    """The first answer.

    Args:
        ask: one attempt.
        wait_s: longest wait.

    Raises:
        EngineMismatchError: none came, or whatever `ask` raises but for RetryableError.
    """
    until = time.monotonic() + wait_s
    retry = RetrySettings(longest_wait_s=5.0)
    for attempt in itertools.count(1):
        try:
            return await ask()
        except RetryableError as error:
            if time.monotonic() > until:
                raise EngineMismatchError(
                    f"no SGLang server is ready after {wait_s:g} s ({error}); start one, or give the URL of another"
                ) from error
            await asyncio.sleep(retry.wait_s(attempt, "start"))
    raise AssertionError("unreachable")
