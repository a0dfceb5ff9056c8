"""What strategies over steps have in common: where a step ends, the caps on a tree, and how a PRM guides it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from eduprm.search.branches import CutRule
from eduprm.search.budget import Budget
from eduprm.search.step_growth import Scorer


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


class GuidedOptions(StepOptions):
    """Options of a strategy that asks a PRM after each step, and may draw the next."""

    scorer: Scorer = Field(exclude=True, repr=False, description="the PRM: a `PrefixScorer`")
    temperature: float = Field(
        default=0.7, gt=0.0, description="of the softmax the tokens are drawn from, where they are drawn"
    )
    seed: int = Field(default=0, description="of the draws")
    piece_tokens: int = Field(
        default=16, ge=1, description="tokens asked for at a time; smaller wastes fewer, and asks more often"
    )
