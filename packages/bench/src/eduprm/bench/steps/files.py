"""Records of a benchmark of steps, from JSON, JSON Lines (both also .gz, .zst) or Parquet files, or from the hub.

It knows files and the hub, not what a record should hold (`rows`). A line that is no JSON comes as the error to report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from eduprm.core.compressed import CompressionError, open_plain, plain_name

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class BenchFileError(ValueError):
    """A source of rows cannot be used at all; one line says which, what was expected and what to do."""


class RowError(ValueError):
    """One row cannot be used; the message says why."""


class Source(NamedTuple):
    """One file or one split of a hub data set: its name, the part its rows fall in, its rows from 1 on."""

    name: str
    part: str
    rows: Iterator[tuple[int, Any]]


def open_sources(names: Sequence[str | Path]) -> list[Source]:
    """Open files and hub data sets.

    Args:
        names: paths of .json (an array of objects), .jsonl (either may be packed: .gz, .zst) or .parquet files, or
            names on the hub; a folder is read as `datasets.load_dataset` reads it.

    Raises:
        BenchFileError: no such file or data set, an unknown suffix, or a file that is not what its suffix says.
    """
    if not names:
        raise BenchFileError("expected a file or the name of a data set, got none")
    opened: list[Source] = []
    for name in names:
        path = Path(name)
        if path.is_file():
            opened.append(Source(str(name), plain_name(path).stem, _file_rows(path)))
        elif path.is_dir() or (_HUB_NAME.fullmatch(str(name)) and plain_name(path).suffix not in _READERS):
            opened += _hub_sources(str(name))
        else:
            raise BenchFileError(
                f"{name}: expected a file or the name of a data set on the hub, got no such file"
            )
    return opened


def _file_rows(path: Path) -> Iterator[tuple[int, Any]]:
    suffix = plain_name(path).suffix
    if suffix not in _READERS:
        raise BenchFileError(
            f"{path}: expected a name ending in {', '.join(_READERS)} (or one of these and .gz or .zst), "
            f"got {suffix or 'no suffix'}"
        )
    return iter(_READERS[suffix](path))


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows of a JSON array; a file of one object a line is read as such, whatever its suffix."""
    text = _text(path)
    if not text.lstrip().startswith("["):
        return _json_lines(path)
    try:
        return enumerate(json.loads(text), start=1)
    except (ValueError, RecursionError) as error:
        raise BenchFileError(f"{path}: expected a JSON array of objects, got broken JSON ({error})") from None


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for row, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield row, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield row, RowError(f"not JSON ({error}); give one object a line")


def _text(path: Path) -> str:
    try:
        with open_plain(path) as file:
            return file.read().decode("utf-8-sig")
    except CompressionError as error:
        raise BenchFileError(f"{path}: {error}") from None
    except UnicodeDecodeError as error:
        raise BenchFileError(f"{path}: expected UTF-8, got another encoding at byte {error.start}") from None
    except OSError as error:
        raise BenchFileError(f"{path}: cannot be read ({error.strerror})") from None


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        return enumerate(pl.read_parquet(path, glob=False).iter_rows(named=True), start=1)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BenchFileError(
            f"{path}: expected a Parquet file, got one that cannot be read ({error})"
        ) from None


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, Any]]]] = {
    ".json": _json_rows,
    ".jsonl": _json_lines,
    ".parquet": _parquet_rows,
}


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
