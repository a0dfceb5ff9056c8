"""Steps are paragraphs: they end at a blank line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eduprm.segment.delimiters import BLANK_LINE, delimiter_spans
from eduprm.segment.segmenters._contract import Solution
from eduprm.segment.spans import Span

__all__ = ["Segmenter"]


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Takes no options."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps."""
        return solution.spans(delimiter_spans(solution.text, BLANK_LINE))
