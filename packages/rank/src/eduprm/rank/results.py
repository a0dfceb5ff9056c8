"""What a run over a file gives back, and who draws its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

    from eduprm.rank.ranking import RankedChunk
    from eduprm.rank.rows import Problem


@dataclass(frozen=True, kw_only=True)
class RankedFile:
    """What was written and found.

    Attributes:
        output: the ranked rows.
        report_file: the report as JSON.
        page: the page to look at; None if none was asked for.
        rejected: the rows that could not be used; None if there are none.
        report: what stands in the report but the accuracies: counts, the choosing rule, what the rows were made from.
        accuracies: per rule (`eduprm.rank.EVALUATION_SCHEMA`); no rows if nothing was graded.
    """

    output: Path
    report_file: Path
    page: Path | None
    rejected: Path | None
    report: dict[str, Any]
    accuracies: pl.DataFrame


class RankPage(Protocol):
    """What draws a page from chunks; `eduprm.report.pages.ranking` does."""

    def page_notes(self, problems: Sequence[Problem], chunk: RankedChunk, *, before: int) -> dict[str, Any]:
        """What the page needs of a chunk, as JSON has it; `before`: problems ranked in earlier chunks."""
        ...

    def write_rank_page(
        self,
        path: Path,
        *,
        title: str,
        report: dict[str, Any],
        frame: pl.DataFrame,
        ranked_by: str,
        rules: Sequence[str],
        notes: Iterable[dict[str, Any]],
    ) -> None:
        """Write the page from the notes of all chunks, in order."""
        ...
