"""Progress of a stage: a bar with rate and time left on a terminal, a line at the end elsewhere.

Of several processes only the first one shows anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from eduprm.prm.processes import is_first_process

console = Console(stderr=True, highlight=False, quiet=not is_first_process())


class UnfinishedError(Exception):
    """A stage lacks rows that another start may fetch; the text says how many and why."""


class Bar:
    """A running bar: `advance` by finished items, with a note such as a rate."""

    def __init__(self, progress: Progress, total: int, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="")
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the bar began."""
        return time.monotonic() - self._began

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Count finished items."""
        if note is not None:
            self._progress.update(self._task, advance=count, note=note)
        else:
            self._progress.update(self._task, advance=count)


@contextmanager
def bar(label: str, *, total: int) -> Iterator[Bar]:
    """Show a bar while the block runs."""
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, total, label)


def say(text: str) -> None:
    """A line for whoever watches, on standard error."""
    console.print(text, markup=False, soft_wrap=True)
