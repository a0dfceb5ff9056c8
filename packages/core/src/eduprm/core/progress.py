"""Progress of long work on standard error: a bar with rate and time left, a line of text. Needs the extra `cli`.

On a terminal the bar is live; elsewhere, in a log say, it is a line a minute and one at the end (`lasting=False`: none
at the end). Of several processes
under torchrun only the first one shows anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 60.0
"""Between two lines of a bar where there is no terminal."""


def stderr_console() -> Console:
    """The console of standard error as it is now."""
    return Console(stderr=True, highlight=False, quiet=os.environ.get("RANK", "0") != "0")


def say(text: str) -> None:
    """A line for whoever watches."""
    stderr_console().print(text, markup=False, soft_wrap=True)


@contextmanager
def status(what: str, *, spinner: bool = True) -> Iterator[None]:
    """Show some words while the block runs, on a terminal only; no spinner beside something else that is live."""
    console = stderr_console()
    if not console.is_terminal:
        yield
    elif spinner:
        with console.status(escape(what)):
            yield
    else:
        console.print(escape(what), style="dim")
        yield


class Bar:
    """A running bar."""

    def __init__(self, progress: Progress, total: int, label: str, unit: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total, note="")
        self._label, self._unit = label, unit
        self._began = self._last = self._printed = time.monotonic()
        self._work, self._working_s = 0.0, 0.0
        self._new = 0  # items that this run finished

    @property
    def seconds(self) -> float:
        """Since the bar began."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Work done per second by this run; 0 if none was."""
        return self._work / self._working_s if self._working_s else 0.0

    def advance(self, count: int = 1, *, work: float | None = None, note: str | None = None) -> None:
        """Count finished items.

        Args:
            count: how many.
            work: what they took, in the bar's unit; 0 for items taken up from an earlier run, which do not count in
                the rate.
            note: shown behind the bar; without it the rate is, where `work` is given.
        """
        now = time.monotonic()
        self._new += count if work is None or work > 0 else 0
        if work:
            self._work += work
            self._working_s += now - self._last
        self._last = now
        if note is None and work is not None and self.rate:
            digits = 0 if self.rate >= 100 else 1
            note = f"{self.rate:,.{digits}f}{self._unit}"
        if note is None:
            self._progress.update(self._task, advance=count)
        else:
            self._progress.update(self._task, advance=count, note=note)
        if now - self._printed >= LINE_EVERY_S and not self._progress.console.is_terminal:
            self._printed = now
            say(self._line())

    def _line(self) -> str:
        task = self._progress.tasks[0]
        # By all that this run did: items end in bursts, and an estimate by the last ones jumps.
        left = ""
        if self._new and task.total is not None:
            left = f", about {self.seconds * (task.total - task.completed) / self._new:.0f} s left"
        note = f", {task.fields['note']}" if task.fields["note"] else ""
        return f"{self._label}: {task.completed:.0f} of {task.total:.0f} in {self.seconds:.0f} s{left}{note}"


@contextmanager
def bar(label: str, *, total: int, unit: str = "/s", lasting: bool = True) -> Iterator[Bar]:
    """Show a bar while the block runs.

    Args:
        label: what is done.
        total: items.
        unit: of the rate, as in " tokens/s".
        lasting: where there is no terminal, print the bar once at its end.
    """
    console = stderr_console()
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not (lasting or console.is_terminal)) as progress:
        yield Bar(progress, total, label, unit)
