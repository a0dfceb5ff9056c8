"""How much one tree may cost."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Budget(BaseModel):
    """Caps on the growth of one tree; whichever is met first ends it.

    Examples:
        >>> Budget(max_leaves=4).max_tokens_per_path
        256
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_leaves: int = Field(default=8, ge=1, description="most solutions (leaves) of one tree")
    max_tokens_per_path: int = Field(
        default=256,
        ge=1,
        description="most generated tokens of one solution; longer ones finish with 'length'",
    )
    max_forks_per_path: int | None = Field(
        default=None, ge=0, description="most forks along one solution; none for no cap"
    )
    max_total_tokens: int | None = Field(
        default=None, ge=1, description="most distinct generated tokens of one tree; none for no cap"
    )
