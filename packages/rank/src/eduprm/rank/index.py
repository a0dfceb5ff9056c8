"""One pass over the file before anything is scored: what can be read, and which rows belong to which problem.

For a list of problems in the order of their first rows, kept on disk (SQLite), so that memory does not grow with the
file and rows of one problem need not be neighbours.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from eduprm.core.errors import UsageError, quoted
from eduprm.core.records import RowError
from eduprm.rank.errors import Rejection
from eduprm.rank.files import SolutionsFile
from eduprm.rank.layouts import Layout, find_layout
from eduprm.rank.reading import Reader
from eduprm.rank.rows import ADDED_NAMES, Row

_SCHEMA = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -8000;
CREATE TABLE rows (row INTEGER PRIMARY KEY, place INTEGER, id TEXT, solutions INTEGER, first INTEGER);
CREATE TABLE problems (id TEXT PRIMARY KEY, first INTEGER, digest BLOB) WITHOUT ROWID;
CREATE TABLE rejected (row INTEGER, id TEXT, solution INTEGER, reason TEXT);
"""
_INSERT_REJECTED = "INSERT INTO rejected VALUES (?, ?, ?, ?)"


class Counts(NamedTuple):
    """What is to be ranked.

    Attributes:
        problems, solutions: how many.
        left_out: rows that `--where` does not take.
        joined: solutions given as steps between which line breaks were put.
        labelled: the first row that has a label for each item of its list, as rows of steps have; None: none.
    """

    problems: int
    solutions: int
    left_out: int = 0
    joined: int = 0
    labelled: int | None = None


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
        self._left_out = self._joined = 0
        self._labelled: int | None = None
        self._has_answers = False

    def build(
        self,
        source: SolutionsFile,
        reader: Reader,
        *,
        file: str,
        prefix: str = "",
        limit: int | None = None,
    ) -> Counts:
        """Read the whole file (rows as problems: up to the limit) and group its rows.

        Raises:
            UsageError: the file lacks a column, holds one that would be overwritten, does not say which column is to
                be ranked, or holds no row that can be used.
        """
        self._file, self._prefix = file, prefix
        shape = source.shape()
        reason = None if shape is None else reader.check_shape(shape, find_layout(shape, reader.columns))
        if reason is not None:
            raise UsageError(f"{file}: {reason}")
        self._db.execute("BEGIN")
        seen = self._add_rows(source, reader, limit=limit)
        self._finish(limit)
        self._db.execute("COMMIT")
        problems, solutions = self._db.execute(
            "SELECT COUNT(DISTINCT first), COALESCE(SUM(solutions), 0) FROM rows"
        ).fetchone()
        if problems == 0:
            raise UsageError(f"{file}: {self._why_none(seen)}")
        if reader.columns.answer is not None and not self._has_answers:
            named = quoted(reader.columns.answer)
            raise UsageError(f"{file}: no row has a column {named}; correct --columns.answer")
        return Counts(problems, solutions, self._left_out, self._joined, self._labelled)

    def _why_none(self, seen: int) -> str:
        if seen and seen == self._left_out:
            return f"none of {seen} rows has the value that --where names; see what its column holds"
        first = next(self.rejections(), None)
        what = "it holds no rows" if first is None else first.line(self._file).removeprefix(f"{self._file}: ")
        return f"none of {seen} rows can be used; {what}"

    def _add_rows(self, source: SolutionsFile, reader: Reader, *, limit: int | None) -> int:
        layout: Layout | None = None
        shape = source.shape()
        seen = taken = 0
        for row, place, record in source.scan([] if shape is None else reader.wanted(shape)):
            seen += 1
            if isinstance(record, RowError):
                self.reject([Rejection(row=row, id=None, solution=None, reason=str(record))])
                continue
            if not reader.takes(record):
                self._left_out += 1
                continue
            # The first row that shows a layout decides it for the file.
            layout = layout or find_layout(record, reader.columns)
            self.layout = layout or "problem"
            rivals = reader.rivals(record)
            if rivals is not None:
                raise UsageError(f"{self._file}: row {row}: {rivals}")
            self._check_new_names(shape or record)
            try:
                if layout is None:
                    raise RowError(reader.missing(record))
                checked = reader.read(record, layout)
                taken += self._add_row(row, place, checked)
                self._note(row, checked, labelled=reader.labels_steps(record, checked))
            except RowError as error:
                key = reader.shown_id(record)
                self.reject([Rejection(row=row, id=key, solution=None, reason=str(error))])
            if layout == "problem" and limit is not None and taken == limit:
                break
        return seen

    def _note(self, row: int, checked: Row, *, labelled: bool) -> None:
        self._joined += checked.joined
        self._has_answers |= checked.has_answer
        if labelled and self._labelled is None:
            self._labelled = row

    def _check_new_names(self, names: Iterable[str]) -> None:
        """Refuse to overwrite what the input brings."""
        taken = sorted({self._prefix + name for name in ADDED_NAMES[self.layout]}.intersection(names))
        if taken:
            raise UsageError(
                f"{self._file}: the column {quoted(taken[0])} would be overwritten; "
                "give the new columns a prefix, as in --prefix prm_"
            )

    def _add_row(self, row: int, place: int, checked: Row) -> int:
        """Note one row; return how many problems it adds."""
        key = checked.id
        known = self._db.execute("SELECT first, digest FROM problems WHERE id = ?", (key,)).fetchone()
        digest = _digest(checked) if self.layout == "problem" else b""
        if known is not None and self.layout == "problem":
            if known[1] == digest:
                raise RowError(
                    f"repeats row {known[0]}: the same id, problem and solutions; keep one such row, as with "
                    "--where filter=strict-match (lm-eval-harness writes a row for every filter)"
                )
            raise RowError(f"the id stands already in row {known[0]}; give every problem an id of its own")
        if known is None:
            self._db.execute("INSERT INTO problems VALUES (?, ?, ?)", (key, row, digest))
        first = row if known is None else known[0]
        values = (row, place, key, len(checked.solutions), first)
        self._db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
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


def _digest(row: Row) -> bytes:
    """What tells rows of one id that say the same from those that do not."""
    return hashlib.sha256(repr((row.problem.strip(), list(row.solutions))).encode()).digest()[:16]
