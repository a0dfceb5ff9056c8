"""Rows of a benchmark of steps, from JSON, JSON Lines or Parquet files, or from the hub by name.

It knows files and what every benchmark of steps has in common: an id, a problem, steps. What the gold looks like is
said by `processbench` and `prmbench`. A bad row is set aside with its number and the reason, it does not stop the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

ITEM_SCHEMA: dict[str, pl.DataType] = {
    "part": pl.String(),
    "id": pl.String(),
    "problem": pl.String(),
    "steps": pl.List(pl.String()),
}
"""What all items have: part (subset or class of error), id (unique in its part), problem, steps."""

REJECTED_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "row": pl.Int64(),
    "part": pl.String(),
    "id": pl.String(),
    "reason": pl.String(),
}
"""Rows set aside: row counts from 1 in its source (in JSON Lines: the line); part and id null where unreadable."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class BenchFileError(ValueError):
    """A source of rows cannot be used at all; one line says which, what was expected and what to do."""


class RowError(ValueError):
    """One row cannot be used; the message says why."""


class Items(NamedTuple):
    """Good rows (`ITEM_SCHEMA` and the gold columns of the benchmark) and those set aside (`REJECTED_SCHEMA`)."""

    items: pl.DataFrame
    rejected: pl.DataFrame


class Source(NamedTuple):
    """One file or one split of a hub data set: its name, the part its rows fall in, its rows from 1 on."""

    name: str
    part: str
    rows: Iterator[tuple[int, Any]]


def open_sources(names: Sequence[str | Path]) -> list[Source]:
    """Open files and hub data sets.

    Args:
        names: paths of .json (an array of objects), .jsonl or .parquet files, or names on the hub; a folder is read as
            `datasets.load_dataset` reads it.

    Raises:
        BenchFileError: no such file or data set, an unknown suffix, or a file that is not what its suffix says.
    """
    if not names:
        raise BenchFileError("expected a file or the name of a data set, got none")
    opened: list[Source] = []
    for name in names:
        path = Path(name)
        if path.is_file():
            opened.append(Source(str(name), path.stem, _file_rows(path)))
        elif path.is_dir() or (_HUB_NAME.fullmatch(str(name)) and path.suffix not in _READERS):
            opened += _hub_sources(str(name))
        else:
            raise BenchFileError(
                f"{name}: expected a file or the name of a data set on the hub, got no such file"
            )
    return opened


def _file_rows(path: Path) -> Iterator[tuple[int, Any]]:
    if path.suffix not in _READERS:
        raise BenchFileError(
            f"{path}: expected a name ending in {', '.join(_READERS)}, got {path.suffix or 'no suffix'}"
        )
    return iter(_READERS[path.suffix](path))


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
        return path.read_text(encoding="utf-8-sig")
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
            f"{name}: data sets of the hub need the package datasets: pip install 'eduprm-bench[hub]'"
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


def collect(
    sources: Sequence[Source],
    check: Callable[[Mapping[str, Any], str], dict[str, Any]],
    *,
    columns: Sequence[str],
    schema: Mapping[str, pl.DataType],
) -> Items:
    """Check every row of all sources.

    Args:
        sources: opened by `open_sources`.
        check: gives the item of a record (row and part of its source), or raises `RowError`.
        columns: what a record must hold; a source none of whose rows holds them is refused as a whole.
        schema: of the items.

    Raises:
        BenchFileError: a source without any usable row, with the columns it has or its first fault.
    """
    items: list[dict[str, Any]] = []
    rejected: list[tuple[str, int, str | None, str | None, str]] = []
    seen: dict[tuple[str, str], str] = {}
    for source in sources:
        before, faults = len(items), len(rejected)
        for row, record in source.rows:
            known = record.get("id") if isinstance(record, Mapping) else None
            try:
                item = check(_mapping(record, columns), source.part)
                key = item["part"], item["id"]
                if key in seen:
                    raise RowError(f"id {item['id']!r} was used by {seen[key]}; make ids unique")
                seen[key] = f"{source.name}, row {row}"
                items.append(item)
            except RowError as error:
                shown = str(known) if isinstance(known, str | int) else None
                rejected.append((source.name, row, source.part, shown, str(error)))
        if len(items) == before:
            first = (
                f"row {rejected[faults][1]}: {rejected[faults][4]}" if len(rejected) > faults else "no rows"
            )
            raise BenchFileError(f"{source.name}: no usable row ({first})")
    frame = pl.DataFrame(items, schema=dict(schema))
    return Items(frame, pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row"))


def _mapping(record: Any, columns: Sequence[str]) -> Mapping[str, Any]:
    if isinstance(record, RowError):
        raise record
    if not isinstance(record, Mapping):
        raise RowError(f"expected an object, got {type(record).__name__}")
    missing = [name for name in columns if name not in record]
    if missing:
        raise RowError(
            f"expected columns {', '.join(columns)}, got {', '.join(map(str, record)) or 'none'}: "
            f"no {', '.join(missing)}"
        )
    return record


def draw_rows(items: pl.DataFrame, limit: int) -> pl.DataFrame:
    """So many rows of each part, in the order they had; a larger limit adds rows to those of a smaller one.

    Drawn by a hash of part and id, because files come sorted by label.

    Examples:
        >>> items = pl.DataFrame({"part": ["a", "a", "b"], "id": ["1", "2", "1"]})
        >>> draw_rows(items, 1)["part"].to_list()
        ['a', 'b']
    """
    pairs = items.select("part", "id").iter_rows()
    digests = [hashlib.sha256(f"draw\x1f{part}\x1f{key}".encode()).hexdigest() for part, key in pairs]
    place = pl.col("_digest").rank("ordinal").over("part")
    drawn = items.with_columns(pl.Series("_digest", digests, dtype=pl.String)).filter(place <= limit)
    return drawn.drop("_digest")


def text_of(record: Mapping[str, Any], name: str) -> str:
    """A text that is not blank.

    Raises:
        RowError: it is something else.
    """
    value = record[name]
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"expected text in {name!r}, got {_short(value)}")
    return value


def steps_of(record: Mapping[str, Any], name: str) -> list[str]:
    """A list of one or more texts, none of them blank.

    Raises:
        RowError: it is something else.
    """
    value = record[name]
    if not isinstance(value, list) or not value:
        raise RowError(f"expected a list of steps in {name!r}, got {_short(value)}")
    for index, step in enumerate(value):
        if not isinstance(step, str) or not step.strip():
            raise RowError(f"expected text in step {index} of {name!r}, got {_short(step)}")
    return value


def id_of(record: Mapping[str, Any], name: str) -> str:
    """An id: a text or a whole number.

    Raises:
        RowError: it is something else.
    """
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise RowError(f"expected a text or a whole number in {name!r}, got {_short(value)}")
    return str(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
