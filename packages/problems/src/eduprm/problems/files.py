"""Problems from files as people have them: JSON Lines or Parquet, with the field's usual column names.

It knows columns and where a worked answer keeps its final one; it does not grade, split or clean anything.
A bad row is not mended and does not stop the rest: it is handed back with its number, the reason and a remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from pydantic import ValidationError

from eduprm.core.compressed import CompressionError, open_plain, plain_name
from eduprm.forest.errors import ForestError, shown
from eduprm.forest.schema import PROBLEM_SCHEMA, SPLITS
from eduprm.forest.validate import validate_problems
from eduprm.problems.rows import ProblemColumns, RowError, problem_row

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
        path: ``.jsonl`` (or ``.ndjson``; either may be packed, ``.gz`` or ``.zst``) or ``.parquet``.
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


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows counted from 1, each a mapping or, where it could not be read, the error to report."""
    if not path.is_file():
        raise ForestError("expected a file of problems, got no such file", file=path)
    suffix = plain_name(path).suffix
    if suffix == ".parquet":
        try:
            frame = pl.read_parquet(path, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ForestError(
                f"expected a Parquet file, got one that cannot be read ({error})", file=path
            ) from error
        yield from enumerate(frame.iter_rows(named=True), start=1)
    elif suffix in (".jsonl", ".ndjson"):
        try:
            with open_plain(path) as lines:
                for row, line in enumerate(lines, start=1):
                    if line.strip():
                        yield row, _parse_line(line)
        except CompressionError as error:
            raise ForestError(f"expected a whole JSON Lines file, got one that {error}", file=path) from None
    else:
        raise ForestError(
            f"expected a name ending in .jsonl or .parquet, got {suffix or 'no suffix'}", file=path
        )


def _parse_line(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return RowError(f"not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8")
    except RecursionError:
        return RowError("JSON nested too deep; give one flat object a line")
    except ValueError as error:
        return RowError(f"not JSON ({error}); give one object a line")
