"""When a failed request is sent again, and after how long.

Waits double from one attempt to the next up to a cap; their jitter is a hash of the request, so that requests that
failed together do not come back together and yet a run repeats. What the server asks for (Retry-After) is a wait's
least length.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.seeds import derive_seed


class RetryableError(Exception):
    """An attempt failed in a way that another may not.

    Attributes:
        cause: the kind of failure, without what is particular to this one, for counts; by default the reason.
        asked_s: how long the server asks to wait.
    """

    def __init__(self, reason: str, *, cause: str | None = None, asked_s: float = 0.0) -> None:
        super().__init__(reason)
        self.cause = cause or reason
        self.asked_s = asked_s


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

    attempts: int = Field(default=8, ge=1, description="most attempts at one request")
    first_wait_s: float = Field(
        default=0.5, gt=0, description="seconds before the second attempt, give or take half"
    )
    longest_wait_s: float = Field(default=30.0, gt=0, description="cap of a wait, before jitter")
    patience_s: float = Field(
        default=300.0,
        ge=0,
        description="seconds without any answer from the server after which a failed request is not sent again",
    )

    def wait_s(self, attempt: int, *key: int | str, asked_s: float = 0.0) -> float:
        """Seconds to wait after this attempt (from 1) at the request named by `key`, at least what the server asks."""
        jitter = 0.5 + derive_seed("retry", *key, attempt - 1) / 2**63
        # A float has no 2**1024, and the cap is reached long before.
        doubled = self.first_wait_s * 2.0 ** min(attempt - 1, 60)
        return max(min(doubled, self.longest_wait_s) * jitter, asked_s)
