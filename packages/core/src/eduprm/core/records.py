"""Records from JSON, JSON Lines and Parquet files, row by row; a row that cannot be read comes as the error to report.

JSON may be packed with gzip or Zstandard. JSON Lines and Parquet are streamed; a JSON array is read whole.
"""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eduprm.core.compressed import CompressionError, open_plain, plain_name
from eduprm.core.errors import first_line, quoted

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
"""Endings of the files that are read; .gz or .zst may follow the first three."""

_BOM = b"\xef\xbb\xbf"
_BATCH_ROWS = 65536


class RecordsError(ValueError):
    """A file cannot be read at all; one line says what was expected, the caller knows which file."""


class RowError(ValueError):
    """One row cannot be used; the message says why and what to do, the caller knows which row."""


Record = Mapping[str, Any] | RowError


def read_records(path: Path) -> Iterator[tuple[int, Record]]:
    """Rows of a file with their numbers, from 1; of JSON Lines the line's, where blank ones are counted but not given.

    Args:
        path: .jsonl or .ndjson, an object a line; .json, an array of objects or an object a line; or .parquet, for
            which the package polars is needed.

    Raises:
        RecordsError: at once for no such file or an unknown ending; while reading, for a file that is not what its
            ending says.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "some.jsonl"
        ...     _ = path.write_text('{"a": 1}\\n\\n{"a": \\n')
        ...     for row, record in read_records(path):
        ...         print(row, record)
        1 {'a': 1}
        3 not JSON (Expecting value at column 7); write one JSON object a line
    """
    if not path.is_file():
        raise RecordsError("expected a file, got no such file")
    suffix = plain_name(path).suffix
    if suffix not in SUFFIXES:
        raise RecordsError(
            f"expected a name ending in {', '.join(SUFFIXES)} (or one of these and .gz or .zst), "
            f"got {suffix or 'no suffix'}"
        )
    if suffix == ".parquet":
        return _parquet_rows(path)
    return _json_rows(path, array=suffix == ".json")


def parse_line(line: bytes) -> Record:
    """The object of a line, or why there is none.

    Examples:
        >>> parse_line(b'{"a": 1}')
        {'a': 1}
        >>> parse_line(b"[1]")
        RowError('expected a JSON object, got [1]; write one object a line')
    """
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return RowError("UTF-16, as PowerShell writes it; save the file as UTF-8")
    try:
        return _object(json.loads(line.removeprefix(_BOM).rstrip(b"\r\n")))
    except UnicodeDecodeError as error:
        return RowError(f"not UTF-8 (byte {error.start} of the line); save the file as UTF-8")
    except json.JSONDecodeError as error:
        return RowError(f"not JSON ({error.msg} at column {error.colno}); write one JSON object a line")
    except RecursionError:
        return RowError("JSON nested too deep; write one flat JSON object a line")
    except ValueError as error:  # for one: an integer of thousands of digits
        return RowError(f"not JSON that can be read ({first_line(error)}); write one JSON object a line")


def _object(value: Any) -> Record:
    if isinstance(value, dict):
        return value
    return RowError(f"expected a JSON object, got {quoted(value)}; write one object a line")


def _json_rows(path: Path, *, array: bool) -> Iterator[tuple[int, Record]]:
    try:
        with open_plain(path) as file:
            for row, line in enumerate(file, start=1):
                text = line.removeprefix(_BOM).strip()
                if array and text.startswith(b"["):
                    yield from enumerate(map(_object, _array(line + file.read())), start=1)
                    return
                if text:
                    array = False  # one object a line, whatever the ending
                    yield row, parse_line(line)
    except CompressionError as error:
        raise RecordsError(f"expected a whole file, got one that {error}") from None
    except OSError as error:
        raise RecordsError(f"cannot be read ({error.strerror})") from None


def _array(text: bytes) -> list[Any]:
    try:
        found: list[Any] = json.loads(text.removeprefix(_BOM).decode())
    except UnicodeDecodeError as error:
        raise RecordsError(f"expected UTF-8, got another encoding at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise RecordsError(
            f"expected a JSON array of objects, got broken JSON ({first_line(error)})"
        ) from None
    return found


def _parquet_rows(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        import polars as pl
    except ImportError:
        raise RecordsError("is Parquet, which needs the package polars: install it") from None
    try:
        whole = pl.scan_parquet(path, glob=False)
        for start in itertools.count(0, _BATCH_ROWS):
            frame = whole.slice(start, _BATCH_ROWS).collect()
            yield from enumerate(frame.iter_rows(named=True), start=start + 1)
            if frame.height < _BATCH_ROWS:
                return
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecordsError(
            f"expected a Parquet file, got one that cannot be read ({first_line(error)})"
        ) from None
