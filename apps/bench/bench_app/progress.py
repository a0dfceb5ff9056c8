"""Progress on stderr: rows scored, tokens per second, time left; nothing where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def busy(console: Console, what: str) -> Iterator[None]:
    """Show a line with some words while the block runs, on a terminal where nothing else is live."""
    if console.is_terminal:
        console.print(escape(what), style="dim")
    yield


class RowsProgress:
    """A bar over rows; those taken up from an earlier run count as done but not in the rate."""

    def __init__(self, console: Console, *, total: int) -> None:
        columns = (
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=total, rate="")
        self._tokens, self._scoring_s = 0, 0.0
        self._last_s = time.perf_counter()

    def __enter__(self) -> RowsProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, rows: int, tokens: int) -> None:
        """Count a chunk; tokens 0: it was taken up."""
        now_s = time.perf_counter()
        if tokens:
            self._tokens += tokens
            self._scoring_s += now_s - self._last_s
        self._last_s = now_s
        rate = f"{self._tokens / self._scoring_s:,.0f} tokens/s" if self._scoring_s else ""
        self._progress.update(self._task, advance=rows, rate=rate)


def say(text: str) -> None:
    """A line for whoever watches, on standard error."""
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)
