"""When a failed request is sent again, and after how long.

Waits double from one attempt to the next up to a cap; their jitter is a hash of the request, so that requests that
failed together do not come back together and yet a run repeats. What the server asks for (Retry-After) is a wait's
least length. A request that nobody took (no server, no worker, a full queue) says nothing about itself: it is sent
again for as long as the client is patient. One that was taken and failed may be what kills the server, so its attempts
are counted.
"""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.seeds import derive_seed


class RetryableError(Exception):
    """An attempt failed in a way that another may not.

    Attributes:
        cause: the kind of failure, without what is particular to this one, for counts; by default the reason.
        asked_s: how long the server asks to wait.
        taken: whether somebody took the request; if not, the attempt does not count.
    """

    def __init__(
        self, reason: str, *, cause: str | None = None, asked_s: float = 0.0, taken: bool = True
    ) -> None:
        super().__init__(reason)
        self.cause = cause or reason
        self.asked_s = asked_s
        self.taken = taken


class RetrySettings(BaseModel):
    """How stubborn a client is.

    Examples:
        >>> settings = RetrySettings(first_wait_s=8)
        >>> [round(settings.wait_s(attempt, "p", 0)) for attempt in (1, 2, 3)]
        [11, 21, 44]
        >>> settings.wait_s(1, "p", 0, asked_s=20)
        20
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(
        default=8,
        ge=1,
        description="most attempts at one request; those that nobody took (connection refused, 429, 503) do not count",
    )
    first_wait_s: float = Field(
        default=0.5, gt=0, description="seconds before the second attempt, give or take half"
    )
    longest_wait_s: float = Field(default=30.0, gt=0, description="cap of a wait, before jitter")
    patience_s: float = Field(
        default=300.0,
        ge=0,
        description="seconds without any answer from the server, or without anybody taking the request, after which "
        "it is not sent again",
    )

    def wait_s(self, attempt: int, *key: int | str, asked_s: float = 0.0) -> float:
        """Seconds to wait after this attempt (from 1) at the request named by `key`, at least what the server asks."""
        jitter = 0.5 + derive_seed("retry", *key, attempt - 1) / 2**63
        # A float has no 2**1024, and the cap is reached long before.
        doubled = self.first_wait_s * 2.0 ** min(attempt - 1, 60)
        return max(min(doubled, self.longest_wait_s) * jitter, asked_s)


class Attempts:
    """The failed attempts at one request, and whether another follows.

    Args:
        settings: how stubborn to be.
        key: names the request.

    Attributes:
        num: attempts that failed, counted or not.

    Examples:
        >>> attempts = Attempts(RetrySettings(attempts=2, first_wait_s=1, longest_wait_s=1), "p", 0)
        >>> busy, broken = RetryableError("503", taken=False), RetryableError("500")
        >>> [attempts.wait_s(error, silent_s=0) is not None for error in (busy, busy, broken, broken)]
        [True, True, True, False]
    """

    def __init__(self, settings: RetrySettings, *key: int | str) -> None:
        self._settings, self._key = settings, key
        self._taken = 0
        self._untaken_s: float | None = None  # when the row of attempts that nobody took began
        self.num = 0

    def wait_s(self, error: RetryableError, *, silent_s: float) -> float | None:
        """Seconds to wait before the next attempt; None for none.

        Args:
            error: what the last attempt ended in.
            silent_s: time since the server last answered anything.
        """
        self.num += 1
        now = time.monotonic()
        if error.taken:
            self._taken, self._untaken_s = self._taken + 1, None
        elif self._untaken_s is None:
            self._untaken_s = now
        alone_s = 0.0 if self._untaken_s is None else now - self._untaken_s
        wait_s = self._settings.wait_s(self.num, *self._key, asked_s=error.asked_s)
        too_often = self._taken >= self._settings.attempts
        too_long = max(silent_s, alone_s) + wait_s > self._settings.patience_s
        return None if too_often or too_long else wait_s
