"""Steps of so many tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eduprm.segment.segmenters._contract import Solution
from eduprm.segment.spans import Span, check_size, fixed_length_spans

__all__ = ["Segmenter"]


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Attributes: `size`, tokens in a step."""

    needs: ClassVar[tuple[str, ...]] = ()
    size: int

    def __post_init__(self) -> None:
        """Refuse steps of no tokens."""
        check_size(self.size, "a size")

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps; the last one may be shorter."""
        return fixed_length_spans(len(solution.token_texts), self.size)
