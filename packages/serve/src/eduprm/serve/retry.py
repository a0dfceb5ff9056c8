"""When a failed request is sent again, and after how long.

Waits double from one attempt to the next up to a cap; their jitter is a hash of the request, so that requests that
failed together do not come back together and yet a run repeats. What the server asks for (Retry-After) is a wait's
least length. It knows no transport. As `eduprm.search.sglang.retry`, which is not imported: a client of a PRM needs
none of what a search does.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field


class RetrySettings(BaseModel):
    """How stubborn a client is.

    Examples:
        >>> settings = RetrySettings(first_wait_s=1, longest_wait_s=3)
        >>> [round(settings.wait_s("chunk 7", attempt)) for attempt in (1, 2, 3)]
        [1, 3, 3]
        >>> settings.wait_s("chunk 7", 1, asked_s=20)
        20
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=12, ge=1, description="most attempts at one request")
    first_wait_s: float = Field(
        default=0.5, gt=0, description="seconds before the second attempt, give or take half"
    )
    longest_wait_s: float = Field(default=15.0, gt=0, description="cap of a wait, before jitter")
    patience_s: float = Field(
        default=60.0,
        ge=0,
        description="seconds without any scores from the service after which nothing is sent again",
    )

    def wait_s(self, key: str, attempt: int, *, asked_s: float = 0.0) -> float:
        """Seconds to wait after this attempt (from 1) at the request named by `key`, at least what the server asks."""
        digest = hashlib.sha256(f"{key}\0{attempt}".encode()).digest()
        jitter = 0.5 + int.from_bytes(digest[:8], "big") / 2**64
        return max(min(self.first_wait_s * 2 ** (attempt - 1), self.longest_wait_s) * jitter, asked_s)
