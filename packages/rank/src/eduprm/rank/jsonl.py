"""JSONL: one JSON object a line, plain or compressed, read by the line and found again by byte offset.

For the `SolutionsFile` contract (see `files`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from eduprm.core.compressed import CompressionError, compression_of, open_plain
from eduprm.core.errors import UsageError
from eduprm.core.records import RowError, parse_line
from eduprm.rank.files import Added, Scanned


class JsonlSolutions:
    """Solutions in JSONL, plain, gzip or Zstandard. A row's number is its line, blank lines counted but not read; its
    place is its offset in the plain text.

    Raises:
        UsageError: compressed in another way, or broken; also from what reads.
    """

    suffix = ".jsonl"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._plain: Path | None = path
        self._ahead: Iterator[tuple[int, int, bytes]] | None = None
        with self._readable(), path.open("rb") as file:
            if compression_of(file.read(6)) is not None:
                self._plain = None
        if self._plain is None:
            with self._readable(), open_plain(path) as file:
                packed = file.read(4)
            if packed == b"PAR1":
                raise UsageError(f"{path}: is Parquet, compressed as a whole; unpack it first")

    def shape(self) -> None:
        """Every line has names of its own."""
        return None

    def scan(self, wanted: Sequence[str]) -> Iterator[Scanned]:
        """Read line by line."""
        for row, place, line in self._lines():
            if line.strip():
                yield Scanned(row, place, parse_line(line))

    def check_output(self, work: Path, added: Sequence[Added]) -> None:
        """Nothing to do: what was JSON can be written as JSON."""

    def prepare(self, work: Path, *, in_order: bool) -> None:
        """Any line of a plain file can be sought; a compressed one is unpacked first, unless read in order."""
        if self._plain is None and not in_order:
            unpacked = work / "unpacked.jsonl"
            with self._readable(), open_plain(self.path) as source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target)
            self._plain = unpacked

    def fetch(self, place: int) -> dict[str, Any]:
        """Read the line at an offset."""
        record = parse_line(self._line(place))
        if isinstance(record, RowError):
            raise RuntimeError(f"{self.path} changed while it was read")
        return dict(record)

    def _line(self, place: int) -> bytes:
        if self._plain is None:
            self._ahead = self._ahead or self._lines()
            return next((line for _, at, line in self._ahead if at == place), b"")
        if self._file is None:
            self._file = self._plain.open("rb")
        if self._file.tell() != place:  # seeking drops the read buffer
            self._file.seek(place)
        return self._file.readline()

    def _lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Number, offset and bytes of every line."""
        place = 0
        with self._readable(), open_plain(self.path) as file:
            for row, line in enumerate(file, start=1):
                yield row, place, line
                place += len(line)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except CompressionError as error:
            raise UsageError(f"{self.path}: {error}") from None

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
