"""JSONL: one JSON object a line, read by the line and found again by byte offset.

For: the `SolutionsFile` contract (see `files`). Does not know: what columns mean.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from rerank_app.errors import RowError, first_line
from rerank_app.files import Added, Scanned

_BOM = b"\xef\xbb\xbf"


class JsonlSolutions:
    """Solutions in JSONL. A row's number is its line, blank lines counted but not read; its place is its offset."""

    suffix = ".jsonl"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def names(self) -> None:
        """Every line has names of its own."""
        return None

    def scan(self, wanted: Sequence[str]) -> Iterator[Scanned]:
        """Read line by line."""
        place = 0
        with self.path.open("rb") as file:
            for row, line in enumerate(file, start=1):
                if line.strip():
                    yield Scanned(row, place, _parse(line))
                place += len(line)

    def prepare(self, work: Path, *, in_order: bool) -> None:
        """Nothing to do: any line can be sought."""

    def fetch(self, place: int) -> dict[str, Any]:
        """Read the line at a byte offset."""
        if self._file is None:
            self._file = self.path.open("rb")
        if self._file.tell() != place:  # seeking drops the read buffer
            self._file.seek(place)
        record = _parse(self._file.readline())
        if isinstance(record, RowError):
            raise RuntimeError(f"{self.path} changed while it was read")
        return dict(record)

    def record(self, carrier: dict[str, Any], wanted: Sequence[str]) -> Mapping[str, Any]:
        """The line's object itself."""
        return carrier

    def write_chunk(self, path: Path, carriers: Sequence[dict[str, Any]], added: Sequence[Added]) -> None:
        """Write one object a line, added columns last."""
        with path.open("wb") as file:
            for index, carrier in enumerate(carriers):
                row = {**carrier, **{column.name: column.values[index] for column in added}}
                file.write(dump_line(row))

    def assemble(self, path: Path, chunks: Sequence[Path]) -> None:
        """Append the chunks' bytes."""
        with path.open("wb") as output:
            for chunk in chunks:
                with chunk.open("rb") as file:
                    shutil.copyfileobj(file, output)


def dump_line(row: Mapping[str, Any]) -> bytes:
    """One JSON object and a newline, as readable UTF-8 where the text can be encoded at all."""
    try:
        return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # halves of surrogate pairs can only stand escaped
        return json.dumps(row).encode("ascii") + b"\n"


def _parse(line: bytes) -> Mapping[str, Any] | RowError:
    try:
        value = json.loads(line.removeprefix(_BOM))
    except UnicodeDecodeError as error:
        return RowError(f"not UTF-8 (byte {error.start} of the line); save the file as UTF-8")
    except json.JSONDecodeError as error:
        return RowError(f"not valid JSON ({error.msg} at column {error.colno}); write one JSON object a line")
    except RecursionError:
        return RowError("JSON nested too deeply; write one flat JSON object a line")
    except ValueError as error:  # for one: an integer of thousands of digits
        return RowError(f"not readable JSON ({first_line(error)}); write one JSON object a line")
    if not isinstance(value, dict):
        return RowError(f"expected a JSON object, got {type(value).__name__}; write one object a line")
    return value
