"""The two formats, behind one contract: scan a file row by row, fetch rows again, write rows with columns added.

For choosing the format by a file's first bytes.

The contract. `scan` gives every row once, in order, with a number from 1 and a place to find it by; a row that cannot
be read comes as a `RowError`. `fetch` gives a row again as a carrier, which only the same format's `record` and
`write_chunk` look into; places must rise unless `prepare(in_order=False)` was called. Neither holds more than a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from eduprm.core.errors import UsageError
from eduprm.core.records import RowError

Kind = Literal["int", "float", "bool", "text", "texts", "floats", "ranked"]


class Added(NamedTuple):
    """A column to add: its name, the kind of its values, and one value per row written."""

    name: str
    kind: Kind
    values: Sequence[Any]


class Scanned(NamedTuple):
    """A row as the scan sees it: its number, its place, and its columns or why it cannot be read."""

    row: int
    place: int
    record: Mapping[str, Any] | RowError


class SolutionsFile(Protocol):
    """A file of solutions in one format; see the module's contract."""

    suffix: str

    def shape(self) -> Mapping[str, Any] | None:
        """A row made up of the columns' types ("text", 0, lists of one item); None where every row has its own."""

    def scan(self, wanted: Sequence[str]) -> Iterator[Scanned]:
        """Give every row; of a format with columns, only those wanted."""

    def check_output(self, work: Path, added: Sequence[Added]) -> None:
        """Raise a UsageError if rows of this file with these columns added could not be written."""

    def prepare(self, work: Path, *, in_order: bool) -> None:
        """Get ready to fetch; `work` is a folder for what out-of-order reading needs."""

    def fetch(self, place: int) -> Any:
        """Give the row at a place, as a carrier."""

    def record(self, carrier: Any, wanted: Sequence[str]) -> Mapping[str, Any]:
        """Give a carrier's columns, at least those wanted."""

    def write_chunk(self, path: Path, carriers: Sequence[Any], added: Sequence[Added]) -> None:
        """Write rows with further columns."""

    def assemble(self, path: Path, chunks: Sequence[Path]) -> None:
        """Join chunks to one file; the same chunks give the same bytes."""


def open_solutions(path: Path) -> SolutionsFile:
    """Open a file in the format that its first bytes show.

    Raises:
        UsageError: no such file, no file, empty, compressed in another way than gzip or zstd, or broken Parquet.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file; give a .jsonl (or .jsonl.gz, .jsonl.zst) or .parquet file"
        ) from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder; give one .jsonl or .parquet file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise UsageError(f"{path}: the file is empty; expected one JSON object a line, or Parquet")
    if start == b"PAR1":
        from eduprm.rank.parquet import ParquetSolutions

        return ParquetSolutions(path)
    from eduprm.rank.jsonl import JsonlSolutions

    return JsonlSolutions(path)
