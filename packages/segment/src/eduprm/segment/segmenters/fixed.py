"""Steps of so many words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from eduprm.segment.segmenters._contract import Solution
from eduprm.segment.spans import Span, check_size, fixed_length_spans

__all__ = ["Segmenter"]

_WORD = re.compile(r"\s*\S+\s*|\s+")


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Attributes: `words`, words in a step."""

    needs: ClassVar[tuple[str, ...]] = ()
    words: int = 24

    def __post_init__(self) -> None:
        """Refuse steps of no words."""
        check_size(self.words, "words")

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps; the last one may be shorter."""
        words = _WORD.findall(solution.text)
        borders = [0, *accumulate(map(len, words))]
        spans = fixed_length_spans(len(words), self.words)
        return solution.spans([Span(borders[start], borders[stop]) for start, stop in spans])
