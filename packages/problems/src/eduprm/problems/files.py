"""Problems from files as people have them: JSON, JSON Lines or Parquet, with the field's usual column names.

A bad row is not mended and does not stop the rest: it is handed back with its number, the reason and a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from eduprm.core.compressed import plain_name
from eduprm.core.records import Record, RecordsError, RowError, read_records
from eduprm.forest.errors import ForestError, shown
from eduprm.forest.schema import PROBLEM_SCHEMA, SPLITS
from eduprm.forest.validate import validate_problems
from eduprm.problems.rows import ProblemColumns, problem_row, worked_row

REJECTED_SCHEMA = pl.Schema({"row": pl.Int64, "reason": pl.String})
WORKED_SCHEMA = pl.Schema(
    {"problem_id": pl.String, "question": pl.String, "answer": pl.String, "worked": pl.String}
)
"""Problems with their worked answers: ``answer`` is the gold one, ``worked`` the text as it stood in the file."""


class Problems(NamedTuple):
    """Accepted problems (PROBLEM_SCHEMA) and rejected rows (row: 1 for the file's first; reason)."""

    problems: pl.DataFrame
    rejected: pl.DataFrame


def read_problems(
    path: str | Path,
    *,
    columns: Mapping[str, str] | ProblemColumns | None = None,
    limit: int | None = None,
    source: str | None = None,
    split: str = "train",
    require_answer: bool = False,
) -> Problems:
    """Read a file of problems; bad rows come back beside the good ones.

    Args:
        path: a file that `eduprm.core.records.read_records` reads.
        columns: which column holds question, answer, problem_id, where names are not the common ones; a name, or a
            path as ``doc.question`` (`column_path`).
        limit: stop after this many good problems; None reads all.
        source: what to write into the source column; None takes the row's own, else the file's stem.
        split: "train" or "test", for rows that do not say so themselves.
        require_answer: True refuses rows without a gold answer instead of leaving it null.

    Errors: ForestError for a file that cannot be read, ValueError for an option that makes no sense.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "two.jsonl"
        ...     _ = file.write_text('{"question": "6 * 12?", "answer": "6 * 12 = 72\\\\n#### 72"}\\n{"q": 1}\\n')
        ...     problems, rejected = read_problems(file)
        >>> problems["answer"].to_list(), rejected["row"].to_list()
        (['72'], [2])
    """
    path = Path(path)
    names = _column_choice(columns)
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"expected limit to be 1 or more or None, got {limit}")
    defaults = {"source": source, "stem": plain_name(path).stem, "split": split}
    good, rejected = _rows(
        path,
        lambda record: problem_row(record, names, defaults, require_answer=require_answer),
        once={"problem_id": "problem id {} was used by row {}; make ids unique"},
        limit=limit,
    )
    return Problems(validate_problems(pl.DataFrame(good, schema=PROBLEM_SCHEMA)), rejected)


def read_worked(
    path: str | Path, *, columns: Mapping[str, str] | ProblemColumns | None = None, need_working: bool = True
) -> Problems:
    r"""Read a file of problems with worked answers, as GSM8K's; bad rows come back beside the good ones.

    Args:
        path: a file that `eduprm.core.records.read_records` reads.
        columns: as for `read_problems`; the column of the answer is that of the worked one.
        need_working: refuse a row whose answer is the final one alone; otherwise its ``worked`` is null.

    Returns:
        ``problems`` is a frame of WORKED_SCHEMA, each question once; ``rejected`` as of `read_problems`.

    Raises:
        ForestError: the file cannot be read.
        ValueError: `columns` maps something else.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "two.jsonl"
        ...     _ = file.write_text('{"question": "6 * 12?", "answer": "6 * 12 = 72\\n#### 72"}\n'
        ...                         '{"question": "2 * 2?", "answer": "4"}\n')
        ...     worked, rejected = read_worked(file)
        >>> worked["worked"].to_list(), rejected["row"].to_list()
        (['6 * 12 = 72\n#### 72'], [2])
    """
    path, names = Path(path), _column_choice(columns)
    good, rejected = _rows(
        path,
        lambda record: worked_row(record, names, need_working=need_working),
        once={
            "question": "the question {} was that of row {}; keep one of the two",
            "problem_id": "problem id {} was used by row {}; make ids unique",
        },
    )
    return Problems(pl.DataFrame(good, schema=WORKED_SCHEMA), rejected)


def _rows(
    path: Path, made: Callable[[Record], dict[str, Any]], *, once: Mapping[str, str], limit: int | None = None
) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """Good rows, and REJECTED_SCHEMA of the others. `once`: columns that hold a value once, and what is said else."""
    good: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    first_rows: dict[str, dict[str, int]] = {column: {} for column in once}
    for row, record in _records(path):
        if limit is not None and len(good) == limit:
            break
        try:
            problem = made(record)
            for column, said in once.items():
                first = first_rows[column].setdefault(problem[column], row)
                if first != row:
                    raise RowError(said.format(shown(problem[column]), first))
            good.append(problem)
        except RowError as error:
            bad.append((row, f"{path.name}, row {row}: {error}"))
    return good, pl.DataFrame(bad, schema=REJECTED_SCHEMA, orient="row")


def _column_choice(columns: Mapping[str, str] | ProblemColumns | None) -> ProblemColumns:
    if isinstance(columns, ProblemColumns):
        return columns
    try:
        return ProblemColumns(**dict(columns or {}))
    except ValidationError as error:
        allowed = ", ".join(ProblemColumns.model_fields)
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(
            f"expected columns to map {allowed} to column names, got {columns!r} ({wrong})"
        ) from None


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    try:
        yield from read_records(path)
    except RecordsError as error:
        raise ForestError(str(error), file=path) from None
