"""Parquet: read by batches within row groups, every other column carried through as Arrow, types and all but views.

For the `SolutionsFile` contract (see `files`). Through pyarrow rather than polars,
because its reader streams inside one large row group and its writer gives the same bytes for the same batches.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from eduprm.core.errors import UsageError, first_line, quoted
from eduprm.rank.arrow_types import as_schema, shape_of, writable_schema
from eduprm.rank.files import Added, Kind, Scanned

_BATCH_ROWS = 64
_BUFFER_BYTES = 1 << 20

_RANKED = {
    "index": pa.int32(),
    "score": pa.float64(),
    "steps": pa.list_(pa.string()),
    "step_scores": pa.list_(pa.float64()),
    "final_answer": pa.string(),
    "correct": pa.bool_(),
}
_TYPES: dict[Kind, pa.DataType] = {
    "int": pa.int32(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "floats": pa.list_(pa.float64()),
    "ranked": pa.list_(pa.struct(_RANKED)),
}


class ArrowRow(NamedTuple):
    """A row of a batch."""

    batch: pa.RecordBatch
    place: int


class ParquetSolutions:
    """Solutions in Parquet. A row's number counts from 1, its place from 0."""

    suffix = ".parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without pre_buffer and with a buffer size, a column chunk is streamed and never held whole.
            self._open = lambda: pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            self._schema: pa.Schema = writable_schema(self._open().schema_arrow)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"{path}: not readable as Parquet ({first_line(error)}); write it again"
            ) from None
        doubled = [name for name in self._schema.names if self._schema.names.count(name) > 1]
        if doubled:
            raise UsageError(f"{path}: two columns are called {quoted(doubled[0])}; rename one")
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._batch: pa.RecordBatch | None = None
        self._start = 0
        self._spool: ipc.RecordBatchFileReader | None = None
        self._starts = [0]

    def shape(self) -> dict[str, Any]:
        """A row of the columns' types."""
        return {field.name: shape_of(field.type) for field in self._schema}

    def scan(self, wanted: Sequence[str]) -> Iterator[Scanned]:
        """Read the wanted columns batch by batch."""
        place = 0
        try:
            for batch in self._read(columns=list(wanted)):
                for record in batch.to_pylist():
                    yield Scanned(place + 1, place, record)
                    place += 1
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{self.path}: broken Parquet after row {place} ({first_line(error)})") from None

    def check_output(self, work: Path, added: Sequence[Added]) -> None:
        """Write the first row, with nulls in the columns to add, and read it back."""
        path = work / "trial.parquet"
        try:
            batch = next((batch for batch in self._read() if batch.num_rows), None)
            if batch is not None:
                nulls = [column._replace(values=[None]) for column in added]
                self.write_chunk(path, [ArrowRow(batch, 0)], nulls)
                self.assemble(path.with_suffix(".joined"), [path])
        except (pa.ArrowException, OSError) as error:
            raise UsageError(
                f"{self.path}: rows of these columns cannot be written as Parquet ({first_line(error)}); "
                "drop the column, or convert the file to JSONL"
            ) from None

    def _read(self, **options: Any) -> Iterator[pa.RecordBatch]:
        for batch in self._open().iter_batches(batch_size=_BATCH_ROWS, **options):
            yield as_schema(batch, pa.schema([self._schema.field(name) for name in batch.schema.names]))

    def prepare(self, work: Path, *, in_order: bool) -> None:
        """Copy the file to uncompressed Arrow for random access, unless rows will be fetched in order."""
        if in_order:
            return
        path = work / "spool.arrow"
        with ipc.new_file(path, self._schema) as writer:
            for batch in self._read():
                self._starts.append(self._starts[-1] + batch.num_rows)
                writer.write_batch(batch)
        self._spool = ipc.open_file(pa.memory_map(str(path)))

    def fetch(self, place: int) -> ArrowRow:
        """Give the row at a place."""
        if self._spool is not None:
            number = bisect_right(self._starts, place) - 1
            return ArrowRow(self._spool.get_batch(number), place - self._starts[number])
        if self._batches is None:
            self._batches = self._read()
        while self._batch is None or place >= self._start + self._batch.num_rows:
            self._start += 0 if self._batch is None else self._batch.num_rows
            self._batch = next(self._batches)
        return ArrowRow(self._batch, place - self._start)

    def record(self, carrier: ArrowRow, wanted: Sequence[str]) -> Mapping[str, Any]:
        """The wanted columns as Python values."""
        names = [name for name in carrier.batch.schema.names if name in wanted]
        return {name: carrier.batch.column(name)[carrier.place].as_py() for name in names}

    def write_chunk(self, path: Path, carriers: Sequence[ArrowRow], added: Sequence[Added]) -> None:
        """Write the rows' own columns as they came, and the added ones, as one row group."""
        pieces = []
        for _, run in groupby(carriers, key=lambda carrier: id(carrier.batch)):
            rows = list(run)
            pieces.append(rows[0].batch.take(pa.array([row.place for row in rows])))
        table = pa.Table.from_batches(pieces, schema=self._schema)
        for column in added:
            table = table.append_column(column.name, pa.array(column.values, type=_TYPES[column.kind]))
        pq.write_table(table, path, compression="zstd")

    def assemble(self, path: Path, chunks: Sequence[Path]) -> None:
        """Join the chunks, one row group each."""
        with pq.ParquetWriter(path, pq.read_schema(chunks[0]), compression="zstd") as writer:
            for chunk in chunks:
                writer.write_table(pq.read_table(chunk))
