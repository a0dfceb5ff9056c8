"""What strategies over steps have in common: where a step ends, and the caps on a tree."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from eduprm.search.branches import CutRule
from eduprm.search.budget import Budget


class StepOptions(BaseModel):
    """Options of a strategy whose steps end at anchors."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    threshold: float = Field(default=1.0, ge=0.0, description="nats; a step ends where entropy is above this")
    skip_symbols: bool = Field(
        default=True,
        description="no step ends where the most probable token is white space or punctuation alone",
    )
    budget: Budget = Field(default_factory=Budget, description="caps on one tree")

    @property
    def cut(self) -> CutRule:
        """Paths are cut at all anchors."""
        return CutRule(threshold=self.threshold, skip_symbols=self.skip_symbols)
