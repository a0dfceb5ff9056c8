"""When a failed request is sent again, and after how long.

Waits double from one attempt to the next up to a cap. Their jitter is a hash of the request, so that many requests that
failed together do not come back together and yet a run repeats. Knows no transport.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.seeds import derive_seed


class RetryableError(Exception):
    """An attempt failed in a way that another attempt may not."""


class RetrySettings(BaseModel):
    """How stubborn a client is.

    Examples:
        >>> [round(wait) for wait in RetrySettings(attempts=4, first_wait_s=8).waits("p", 0)]
        [11, 21, 44]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=8, ge=1, description="most attempts at one request")
    first_wait_s: float = Field(
        default=0.5, gt=0, description="seconds before the second attempt, give or take half"
    )
    longest_wait_s: float = Field(default=30.0, gt=0, description="cap of a wait, before jitter")
    patience_s: float = Field(
        default=300.0,
        gt=0,
        description="seconds without any answer from the server after which a failed request is not sent again",
    )

    def waits(self, *key: int | str) -> Iterator[float]:
        """Seconds to wait before each further attempt; `key` names the request."""
        for attempt in range(self.attempts - 1):
            jitter = 0.5 + derive_seed("retry", *key, attempt) / 2**63
            yield min(self.first_wait_s * 2**attempt, self.longest_wait_s) * jitter
