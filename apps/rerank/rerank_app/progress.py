"""Progress on the terminal: what is being done, how fast, and how long it will take; nothing where there is none.

For: stderr, so that stdout holds results only. Does not know: what is done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def busy(console: Console, what: str) -> Iterator[None]:
    """Show a spinner with some words while the block runs."""
    if not console.is_terminal:
        yield
        return
    from rich.markup import escape

    with console.status(escape(what)):
        yield


class SolutionsProgress:
    """A bar over solutions; those of an earlier, killed run count as done but not in the rate."""

    def __init__(self, console: Console, *, total: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("scoring", total=total, rate="")
        self._scored = 0
        self._scoring_s = 0.0
        self._last_s = time.perf_counter()

    def __enter__(self) -> SolutionsProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def rate(self) -> float:
        """Solutions scored per second by this run; 0 if none was."""
        return self._scored / self._scoring_s if self._scoring_s else 0.0

    def advance(self, solutions: int, *, scored: bool) -> None:
        """Count a chunk that was scored now, or taken up from an earlier run."""
        now_s = time.perf_counter()
        if scored:
            self._scored += solutions
            self._scoring_s += now_s - self._last_s
        self._last_s = now_s
        rate = f"{self.rate:.1f}/s" if self._scored else ""
        self._progress.update(self._task, advance=solutions, rate=rate)
