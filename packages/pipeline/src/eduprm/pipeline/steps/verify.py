"""`bench verify`: scores of known solutions beside those that the PRM's model card prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from eduprm.core.command_line import UsageError, quiet_libraries
from eduprm.core.errors import first_line
from eduprm.core.progress import status
from eduprm.pipeline.steps.settings import VerifySettings
from eduprm.prm.published.known_scores import Compared, KnownScores, compare, known_scores
from eduprm.prm.source import PrmReading, PrmSource

_EXIT_OTHER_SCORES = 1


def run(settings: VerifySettings) -> int:
    """Run the command; returns the exit status."""
    known = _known(settings)
    quiet_libraries()
    reading = {key: getattr(settings, key) for key in PrmReading.model_fields}
    how = PrmReading(**{**reading, "format": settings.name, "dtype": settings.dtype or known.dtype})
    prm = PrmSource.find(settings.prm or known.checkpoint, how)
    with status(f"loading {prm.name}"):
        scorer = prm.open()
    try:
        rows = compare(scorer, known.examples)
    except ValueError as error:
        raise UsageError(f"--prm: {prm.name}: {first_line(error)}") from None
    return _show(rows, known, settings.tolerance, name=prm.name, dtype=str(how.dtype))


def _known(settings: VerifySettings) -> KnownScores:
    try:
        known = known_scores(settings.examples)
    except (OSError, ValueError) as error:
        # pydantic's first line only counts the faults.
        text = (
            first_line("\n".join(str(error).splitlines()[1:]))
            if isinstance(error, ValueError)
            else str(error)
        )
        raise UsageError(f"--examples: {settings.examples} holds no known scores: {text}") from None
    if settings.name not in known:
        there = ", ".join(sorted(known))
        raise UsageError(
            f"NAME: no scores are known of {settings.name!r}; expected one of {there}, or --examples FILE that has it"
        )
    return known[settings.name]


def _show(rows: Sequence[Compared], known: KnownScores, tolerance: float, *, name: str, dtype: str) -> int:
    table = Table("solution", "step", "published", "computed", "difference", title=f"{name}, {dtype}")
    for row in rows:
        numbers = (f"{value:.4f}" for value in (row.published, row.computed, row.difference))
        table.add_row(str(row.example + 1), str(row.step + 1), *numbers)
    worst = max(row.difference for row in rows)
    bad = sum(row.difference > tolerance for row in rows)
    console = Console(highlight=False)
    console.print(table)
    verdict = f"{bad} of them differ by more than {tolerance:g}" if bad else f"all within {tolerance:g}"
    console.print(f"largest difference {worst:.4f} over {len(rows)} steps: {verdict}", soft_wrap=True)
    console.print(f"published for {known.checkpoint}: {known.source}", markup=False, soft_wrap=True)
    return _EXIT_OTHER_SCORES if bad else 0
