"""Steps are lines.

Among tokens a line begins at the first one with text behind a line break, so that blank tokens stay with the line
before. In a text without tokens an indentation belongs to its line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eduprm.segment.delimiters import NEWLINE, delimiter_spans
from eduprm.segment.lines import line_starts
from eduprm.segment.segmenters._contract import Solution
from eduprm.segment.spans import Span, spans_from_anchors

__all__ = ["Segmenter"]


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Takes no options."""

    needs: ClassVar[tuple[str, ...]] = ()

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps."""
        if solution.characters:
            return delimiter_spans(solution.text, NEWLINE)
        starts, _ = line_starts(solution.token_texts)
        return spans_from_anchors(starts, len(solution.token_texts))
