"""Steps begin at improbable tokens (AdaptiveStep, arXiv 2502.13943)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eduprm.segment.anchors import low_confidence_anchors
from eduprm.segment.segmenters._contract import Solution, needed
from eduprm.segment.spans import Span, spans_from_anchors

__all__ = ["Segmenter"]


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Steps begin at `low_confidence_anchors`.

    Attributes:
        quantile: threshold from the solution's own log-probs; 0.02 where neither is given.
        threshold: ln of a probability (nats, at most 0), of a whole corpus.
    """

    needs: ClassVar[tuple[str, ...]] = ("logprobs",)
    quantile: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse a threshold that is no log-probability, a quantile outside (0, 1), and both."""
        low_confidence_anchors([0.0], quantile=self.quantile, threshold=self.threshold)

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps."""
        logprobs = needed(solution, "logprobs", "low_confidence")
        anchors = low_confidence_anchors(logprobs, quantile=self.quantile, threshold=self.threshold)
        return spans_from_anchors(anchors, len(solution.token_texts))
