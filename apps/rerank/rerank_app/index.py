"""One pass over the file before anything is scored: what can be read, and which rows belong to which problem.

For: a list of problems in the order of their first rows, kept on disk (SQLite), so that memory does not grow with the
file and rows of one problem need not be neighbours. Does not know: the PRM, steps, scores.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rerank_app.errors import Rejection, RowError, UsageError, quoted
from rerank_app.files import SolutionsFile
from rerank_app.rows import ADDED_NAMES, Layout, find_layout, missing_column, read_row
from rerank_app.settings import Columns

_SCHEMA = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -8000;
CREATE TABLE rows (row INTEGER PRIMARY KEY, place INTEGER, id TEXT, solutions INTEGER, first INTEGER);
CREATE TABLE problems (id TEXT PRIMARY KEY, first INTEGER) WITHOUT ROWID;
CREATE TABLE rejected (row INTEGER, id TEXT, solution INTEGER, reason TEXT);
"""
_INSERT_REJECTED = "INSERT INTO rejected VALUES (?, ?, ?, ?)"


class Counts(NamedTuple):
    """What is to be ranked."""

    problems: int
    solutions: int


class Chunk(NamedTuple):
    """Whole problems that are scored and written together: for each, its rows as (row, place)."""

    problems: list[list[tuple[int, int]]]
    solutions: int


class Index:
    """The rows of a file, grouped. Built anew by every run: it costs little beside scoring."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        # "file" sorting of temporaries happens beside the index, not in a small /tmp.
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(_SCHEMA)
        self._file = self._prefix = ""
        self.layout: Layout = "problem"
        self.in_order = True

    def build(
        self,
        source: SolutionsFile,
        columns: Columns,
        *,
        file: str,
        prefix: str = "",
        limit: int | None = None,
    ) -> Counts:
        """Read the whole file (rows as problems: up to the limit) and group its rows.

        Raises:
            UsageError: the file lacks a column, holds one that would be overwritten, or no row that can be used.
        """
        self._file, self._prefix = file, prefix
        names = source.names()
        if names is not None:
            reason = missing_column(names, columns, find_layout(names, columns))
            if reason is not None:
                raise UsageError(f"{file}: {reason}")
        self._db.execute("BEGIN")
        seen = self._add_rows(source, columns, limit=limit)
        self._finish(limit)
        self._db.execute("COMMIT")
        problems, solutions = self._db.execute(
            "SELECT COUNT(DISTINCT first), COALESCE(SUM(solutions), 0) FROM rows"
        ).fetchone()
        if problems == 0:
            first = next(self.rejections(), None)
            what = "it holds no rows" if first is None else first.line(file).removeprefix(f"{file}: ")
            raise UsageError(f"{file}: none of {seen} rows can be used; {what}")
        return Counts(problems, solutions)

    def _add_rows(self, source: SolutionsFile, columns: Columns, *, limit: int | None) -> int:
        layout: Layout | None = None
        names = source.names()
        seen = taken = 0
        for row, place, record in source.scan(list(columns.model_dump().values())):
            seen += 1
            if isinstance(record, RowError):
                self.reject([Rejection(row=row, id=None, solution=None, reason=str(record))])
                continue
            # The first row that shows a layout decides it for the file.
            layout = layout or find_layout(list(record), columns)
            self.layout = layout or "problem"
            self._check_new_names(names or record)
            key = record.get(columns.id)
            shown = str(key) if isinstance(key, str | int) and not isinstance(key, bool) else None
            try:
                if layout is None:
                    raise RowError(missing_column(list(record), columns, None) or "no solutions")
                checked = read_row(record, columns, layout)
                taken += self._add_row(row, place, checked.id, len(checked.solutions))
            except RowError as error:
                self.reject([Rejection(row=row, id=shown, solution=None, reason=str(error))])
            if layout == "problem" and limit is not None and taken == limit:
                break
        return seen

    def _check_new_names(self, names: Iterable[str]) -> None:
        """Refuse to overwrite what the input brings."""
        taken = sorted({self._prefix + name for name in ADDED_NAMES[self.layout]}.intersection(names))
        if taken:
            raise UsageError(
                f"{self._file}: the column {quoted(taken[0])} would be overwritten; "
                "give the new columns a prefix, as in --prefix prm_"
            )

    def _add_row(self, row: int, place: int, key: str, solutions: int) -> int:
        """Note one row; return how many problems it adds."""
        known = self._db.execute("SELECT first FROM problems WHERE id = ?", (key,)).fetchone()
        if known is not None and self.layout == "problem":
            raise RowError(f"the id stands already in row {known[0]}; give every problem an id of its own")
        if known is None:
            self._db.execute("INSERT INTO problems VALUES (?, ?)", (key, row))
        first = row if known is None else known[0]
        self._db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", (row, place, key, solutions, first))
        return int(known is None)

    def _finish(self, limit: int | None) -> None:
        if limit is not None:
            kept = "SELECT first FROM problems ORDER BY first LIMIT ?"
            self._db.execute(f"DELETE FROM rows WHERE first NOT IN ({kept})", (limit,))
            self._db.execute("DELETE FROM rejected WHERE row > (SELECT MAX(row) FROM rows)")
        self._db.execute("CREATE INDEX by_problem ON rows (first, row)")
        ordered = self._db.execute("SELECT row FROM rows ORDER BY first, row")
        last = 0
        for (row,) in ordered:
            if row < last:
                self.in_order = False
                break
            last = row

    def chunks(self, num_solutions: int) -> Iterator[Chunk]:
        """Give the problems in the order of their first rows, whole, by at least so many solutions at a time."""
        chunk = Chunk([], 0)
        current = None
        query = "SELECT row, place, solutions, first FROM rows ORDER BY first, row"
        for row, place, solutions, first in self._db.execute(query):
            if first != current:
                if chunk.solutions >= num_solutions:
                    yield chunk
                    chunk = Chunk([], 0)
                chunk.problems.append([])
            current = first
            chunk.problems[-1].append((row, place))
            chunk = chunk._replace(solutions=chunk.solutions + solutions)
        if chunk.problems:
            yield chunk

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Note rows that take no part."""
        values = [(item.row, item.id, item.solution, item.reason) for item in rejections]
        self._db.executemany(_INSERT_REJECTED, [tuple(_storable(value) for value in row) for row in values])

    def rejections(self) -> Iterator[Rejection]:
        """Give what was rejected, in the order of the file."""
        query = "SELECT row, id, solution, reason FROM rejected ORDER BY row, solution, rowid"
        for row, key, solution, reason in self._db.execute(query):
            yield Rejection(row=row, id=key, solution=solution, reason=reason)

    def num_rejected(self) -> int:
        """How many rejections there are."""
        return int(self._db.execute("SELECT COUNT(*) FROM rejected").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _storable(value: int | str | None) -> int | str | None:
    """Texts that SQLite can hold: no half surrogate pairs."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
