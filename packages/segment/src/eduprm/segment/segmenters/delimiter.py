"""Steps end at a delimiter in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from eduprm.segment.delimiters import delimiter_spans
from eduprm.segment.segmenters._contract import Solution
from eduprm.segment.spans import Span

__all__ = ["Segmenter"]


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Steps of `delimiter_spans`.

    Attributes:
        delimiters: one string or several.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    delimiters: Sequence[str] | str

    def __post_init__(self) -> None:
        """Refuse delimiters that cut nowhere."""
        delimiter_spans("", self.delimiters)

    def __call__(self, solution: Solution, /) -> list[Span]:
        """Return the steps."""
        return solution.spans(delimiter_spans(solution.text, self.delimiters))
