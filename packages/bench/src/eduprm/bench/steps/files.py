"""Records of a benchmark of steps, from files or from the hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from eduprm.core.compressed import plain_name
from eduprm.core.records import SUFFIXES, Record, RecordsError, read_records

Names = str | Path | Sequence[str | Path]
"""One file or data set, or several."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class BenchFileError(ValueError):
    """A source of rows cannot be used at all; one line says which, what was expected and what to do."""


class Source(NamedTuple):
    """One file or one split of a hub data set: its name, the part its rows fall in, its rows from 1 on."""

    name: str
    part: str
    rows: Iterator[tuple[int, Record]]


def open_sources(names: Names) -> list[Source]:
    """Open files and hub data sets.

    Args:
        names: one or several: paths of files that `eduprm.core.records.read_records` reads, or names on the hub; a
            folder is read as `datasets.load_dataset` reads it.

    Raises:
        BenchFileError: no such file or data set, an unknown suffix, or a file that is not what its suffix says.
    """
    names = [names] if isinstance(names, (str, Path)) else names
    if not names:
        raise BenchFileError("expected a file or the name of a data set, got none")
    opened: list[Source] = []
    for name in names:
        path = Path(name)
        if path.is_file():
            opened.append(Source(str(name), plain_name(path).stem, _file_rows(path)))
        elif path.is_dir() or (_HUB_NAME.fullmatch(str(name)) and plain_name(path).suffix not in SUFFIXES):
            opened += _hub_sources(str(name))
        else:
            raise BenchFileError(
                f"{name}: expected a file or the name of a data set on the hub, got no such file"
            )
    return opened


def _file_rows(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        yield from read_records(path)
    except RecordsError as error:
        raise BenchFileError(f"{path}: {error}") from None


def _hub_sources(name: str) -> list[Source]:
    try:
        from datasets import disable_progress_bars, load_dataset
    except ImportError:
        raise BenchFileError(
            f"{name}: data sets of the hub need the package datasets: install the extra eduprm-bench[hub]"
        ) from None
    disable_progress_bars()
    try:
        splits = load_dataset(name)
    except Exception as error:  # the library raises many kinds: no network, no such name, gated
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BenchFileError(
            f"{name}: no file here, and the hub gave no data set of that name ({first}); name local files"
        ) from None
    return [Source(f"{name}:{part}", str(part), enumerate(rows, start=1)) for part, rows in splits.items()]
