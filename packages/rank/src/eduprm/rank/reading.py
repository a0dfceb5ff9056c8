"""How this run reads its rows: columns, the rows that take part, and where the problems stand.

For one place that the index and the job ask, so that both passes over a file read it alike.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eduprm.core.column_path import PathError, column_of, value_at
from eduprm.core.errors import UsageError, first_line, quoted
from eduprm.core.files import file_digest
from eduprm.core.records import RowError
from eduprm.rank.fields import number_text, read_answer, read_id, read_problem
from eduprm.rank.files import SolutionsFile, open_solutions
from eduprm.rank.layouts import Layout, misplaced_path, missing_column, rival_columns, solutions_path
from eduprm.rank.rows import Known, Row, read_row
from eduprm.rank.settings import Columns, ProblemsFile, RankSettings


class Reader:
    """The settings that say what a row holds. `work` is a folder for the problems of another file, if there is one."""

    def __init__(self, settings: RankSettings, work: Path) -> None:
        self.columns: Columns = settings.columns
        self.problems: KnownProblems | None = None
        if settings.problems.file is not None:
            self.problems = KnownProblems(settings.problems, work)
        self._problems_file = settings.problems.file
        self._where = None if settings.where is None else settings.where.partition("=")

    def paths(self) -> list[str]:
        """Every path that is looked at."""
        columns = self.columns
        paths = [columns.id, columns.problem, columns.answer or "answer"]
        paths += [solutions_path(columns, layout) for layout in ("problem", "solution")]
        return [*paths, *([] if self._where is None else [self._where[0].strip()]), "labels"]

    def wanted(self, names: Mapping[str, Any]) -> list[str]:
        """The columns out of these that are needed."""
        found = {column_of(path, names) for path in self.paths()}
        return [name for name in names if name in found]

    def check_shape(self, shape: Mapping[str, Any], layout: Layout | None) -> str | None:
        """Why no row of this shape can be read; None if they can be."""
        there = self.problems is None
        reason = missing_column(shape, self.columns, layout, with_problem=there)
        if reason is None and layout is not None:
            reason = misplaced_path(shape, self.columns, layout, with_problem=there)
        return reason or rival_columns(shape, self.columns)

    def missing(self, record: Mapping[str, Any]) -> str:
        """Why a row shows no layout."""
        reason = missing_column(record, self.columns, None, with_problem=self.problems is None)
        return reason or "no solutions"

    def rivals(self, record: Mapping[str, Any]) -> str | None:
        """Why it is not clear which column of a row is to be ranked; None if it is."""
        return rival_columns(record, self.columns)

    def shown_id(self, record: Mapping[str, Any]) -> str | None:
        """A row's id for a message; None where it cannot be read."""
        try:
            return read_id(record, self.columns.id, flag="columns.id")
        except RowError:
            return None

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether a row takes part (`--where`)."""
        if self._where is None:
            return True
        path, _, wanted = self._where
        try:
            value = value_at(record, path.strip())
        except PathError:
            return False
        return _as_text(value) == wanted.strip()

    def read(self, record: Mapping[str, Any], layout: Layout) -> Row:
        """Check one row; RowError where it cannot be used."""
        return read_row(record, self.columns, layout, None if self.problems is None else self.problems.find)

    def labels_steps(self, record: Mapping[str, Any], row: Row) -> bool:
        """Whether a row has a label for each item of the list that was named as solutions, as rows of steps have."""
        labels = record.get("labels")
        return self.columns.solutions is not None and _are_labels(labels, len(row.solutions))

    def key(self) -> str | None:
        """Content of the other file of problems, if there is one."""
        return None if self._problems_file is None else file_digest(self._problems_file)

    def close(self) -> None:
        """Close the other file's problems."""
        if self.problems is not None:
            self.problems.close()


class KnownProblems:
    """Problems of a file of their own, by id, kept on disk beside the index.

    Raises:
        UsageError: the file cannot be read, a row of it cannot be used, or an id stands twice with other content.
    """

    def __init__(self, settings: ProblemsFile, work: Path) -> None:
        path = work / "problems.sqlite"
        path.unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE known (id TEXT PRIMARY KEY, problem TEXT, answer TEXT) WITHOUT ROWID")
        self._db.execute("BEGIN")
        assert settings.file is not None
        self._fill(settings, open_solutions(settings.file))
        self._db.execute("COMMIT")

    def _fill(self, settings: ProblemsFile, source: SolutionsFile) -> None:
        shape = source.shape()
        paths = [settings.id, settings.problem, settings.answer or "answer"]
        found = None if shape is None else {column_of(path, shape) for path in paths}
        for row, _, record in source.scan([name for name in shape or () if found and name in found]):
            try:
                if isinstance(record, RowError):
                    raise record
                key = read_id(record, settings.id, flag="problems.id")
                problem = read_problem(record, settings.problem, flag="problems.problem")
                answer, has_answer = read_answer(record, settings.answer)
                if settings.answer is not None and not has_answer:
                    raise RowError(f"no column {quoted(settings.answer)}; correct --problems.answer")
                self._add(key, problem, answer)
            except RowError as error:
                raise UsageError(f"{settings.file}: row {row}: {first_line(error)}") from None

    def _add(self, key: str, problem: str, answer: str | None) -> None:
        known = self.find(key)
        if known is None:
            self._db.execute("INSERT INTO known VALUES (?, ?, ?)", (key, problem, answer))
        elif known != (problem, answer):
            raise RowError(f"the id {quoted(key)} stands twice, with another problem or answer; mend it")

    def find(self, key: str) -> Known | None:
        """The problem of an id; None if there is none."""
        row = self._db.execute("SELECT problem, answer FROM known WHERE id = ?", (key,)).fetchone()
        return None if row is None else Known(*row)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return number_text(value)


def _are_labels(labels: Any, length: int) -> bool:
    if not isinstance(labels, list) or len(labels) != length or length < 2:
        return False
    return all(isinstance(label, bool | int | float) for label in labels)
