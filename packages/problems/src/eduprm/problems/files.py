"""Problems from files as people have them: JSON, JSON Lines or Parquet, with the field's usual column names.

A bad row is not mended and does not stop the rest: it is handed back with its number, the reason and a remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from eduprm.core.compressed import plain_name
from eduprm.core.records import Record, RecordsError, RowError, read_records
from eduprm.forest.errors import ForestError, shown
from eduprm.forest.schema import PROBLEM_SCHEMA, SPLITS
from eduprm.forest.validate import validate_problems
from eduprm.problems.rows import ProblemColumns, problem_row

REJECTED_SCHEMA = pl.Schema({"row": pl.Int64, "reason": pl.String})


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
    good: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    rows_by_id: dict[str, int] = {}
    defaults = {"source": source, "stem": plain_name(path).stem, "split": split}
    for row, record in _records(path):
        if limit is not None and len(good) == limit:
            break
        try:
            problem = problem_row(record, names, defaults, require_answer=require_answer)
            first = rows_by_id.setdefault(problem["problem_id"], row)
            if first != row:
                raise RowError(
                    f"problem id {shown(problem['problem_id'])} was used by row {first}; make ids unique"
                )
            good.append(problem)
        except RowError as error:
            bad.append((row, f"{path.name}, row {row}: {error}"))
    frame = pl.DataFrame(good, schema=PROBLEM_SCHEMA)
    return Problems(validate_problems(frame), pl.DataFrame(bad, schema=REJECTED_SCHEMA, orient="row"))


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
