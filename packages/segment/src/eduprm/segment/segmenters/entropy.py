"""Steps begin where the policy was unsure and would have written no bare symbol (EDU-PRM, arXiv 2503.22233)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eduprm.segment.anchors import entropy_anchors
from eduprm.segment.segmenters._contract import Solution, needed
from eduprm.segment.spans import Span, spans_from_anchors

__all__ = ["Segmenter"]


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Steps begin at `entropy_anchors`.

    Attributes:
        threshold: nats; 1.0 is the paper's, a small model wants less.
        skip_symbols: False looks at no texts: symbols begin steps too.
    """

    needs: ClassVar[tuple[str, ...]] = ("entropies", "top_texts")
    threshold: float = 1.0
    skip_symbols: bool = True

    def __post_init__(self) -> None:
        """Refuse a threshold that is NaN."""
        entropy_anchors([0.0], ["a"], threshold=self.threshold)

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps."""
        entropies = needed(solution, "entropies", "entropy")
        top_texts = needed(solution, "top_texts", "entropy") if self.skip_symbols else solution.token_texts
        anchors = entropy_anchors(
            entropies, top_texts, threshold=self.threshold, skip_symbols=self.skip_symbols
        )
        return spans_from_anchors(anchors, len(solution.token_texts))
