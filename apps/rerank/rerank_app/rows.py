"""What a row must hold, and how rows become problems.

For: turning mappings (a line's JSON object, a Parquet row) into checked records. Does not know: files, formats, models.
A whole row is refused with `RowError`; one bad solution of a good row only becomes a `Rejection`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eduprm.label import strip_stop_tokens
from rerank_app.errors import Rejection, RowError, quoted
from rerank_app.settings import Columns

Layout = Literal["problem", "solution"]
"""What a row of the input is: a problem with all its solutions, or one solution."""

ADDED_NAMES: dict[Layout, tuple[str, ...]] = {
    "problem": ("ranked", "chosen"),
    "solution": ("rank", "score", "chosen", "steps", "step_scores", "final_answer", "correct"),
}
"""Columns that are added to the rows of each layout."""

_MAX_SHOWN_COLUMNS = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """The fields of one row that matter here; `solutions` still unchecked."""

    id: str
    problem: str
    solutions: Sequence[Any]
    answer: str | None


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A usable solution: `row` (from 1) and, within a row's list, `index` (from 0; None: the row is the solution).

    `stop_tokens` are the texts of stop tokens that were taken off the end of its text.
    """

    row: int
    index: int | None
    text: str
    stop_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with its usable solutions. `answer` None: there is nothing to grade against."""

    row: int
    id: str
    text: str
    answer: str | None
    solutions: tuple[Solution, ...]


def find_layout(names: Sequence[str], columns: Columns) -> Layout | None:
    """What a row with these columns is; None if it holds neither solutions nor a solution.

    Examples:
        >>> find_layout(["id", "problem", "solution"], Columns())
        'solution'
    """
    if columns.solutions in names:
        return "problem"
    return "solution" if columns.solution in names else None


def missing_column(names: Sequence[str], columns: Columns, layout: Layout | None) -> str | None:
    """Why these columns are not enough, with what to do; None if they are."""
    wanted = {"id": columns.id, "problem": columns.problem}
    if layout == "problem":
        wanted["solutions"] = columns.solutions
    if layout == "solution":
        wanted["solution"] = columns.solution
    shown = ", ".join(map(quoted, names[:_MAX_SHOWN_COLUMNS])) or "none"
    shown += ", …" if len(names) > _MAX_SHOWN_COLUMNS else ""
    for flag, name in wanted.items():
        if name not in names:
            return f"no column {quoted(name)}, got {shown}; name it with --columns.{flag}"
    if layout is None:
        return (
            f"no column {quoted(columns.solutions)} or {quoted(columns.solution)}, got {shown}; "
            "name it with --columns.solutions or --columns.solution"
        )
    return None


def read_row(record: Mapping[str, Any], columns: Columns, layout: Layout) -> Row:
    """Check the types of one row.

    Raises:
        RowError: a column is missing or holds something else than it should.

    Examples:
        >>> read_row({"id": 7, "problem": "2*3?", "solution": "6"}, Columns(), "solution").id
        '7'
    """
    reason = missing_column(list(record), columns, layout)
    if reason is not None:
        raise RowError(reason)
    key = record[columns.id]
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        raise RowError(f"column {quoted(columns.id)} must hold a text or a whole number, got {quoted(key)}")
    problem = record[columns.problem]
    fault = _text_fault(problem)
    if fault is not None:
        raise RowError(f"column {quoted(columns.problem)} must hold the problem's text, {fault}")
    if layout == "solution":
        solutions: Sequence[Any] = (record[columns.solution],)
    else:
        solutions = record[columns.solutions]
        if not isinstance(solutions, list) or not solutions:
            raise RowError(
                f"column {quoted(columns.solutions)} must hold a list of at least one text, got {quoted(solutions)}"
            )
    return Row(
        id=_clean(str(key)), problem=problem, solutions=solutions, answer=_answer(record, columns.answer)
    )


def build_problem(rows: Sequence[tuple[int, Row]], layout: Layout) -> tuple[Problem, list[Rejection]]:
    """Join the rows of one problem, each with its number; solutions that cannot be used are listed apart.

    The first row's problem text and the first gold answer hold for all.
    """
    number, first = rows[0]
    answer = next((row.answer for _, row in rows if row.answer is not None), None)
    usable: list[Solution] = []
    rejected: list[Rejection] = []
    for row_number, row in rows:
        fault = None
        if row.problem != first.problem:
            fault = f"its problem's text differs from row {number}'s, which has the same id; give it an id of its own"
        elif row.answer not in (None, answer):
            fault = f"its answer {quoted(row.answer)} differs from {quoted(answer)}, of the same id; make them agree"
        if fault is not None:
            rejected.append(Rejection(row=row_number, id=row.id, solution=None, reason=fault))
            continue
        for index, text in enumerate(row.solutions):
            fault, stop_tokens = _text_fault(text), ()
            if fault is None:
                text, stop_tokens = strip_stop_tokens(text)
                fault = _text_fault(text)
            place = index if layout == "problem" else None
            if fault is None:
                usable.append(Solution(row=row_number, index=place, text=text, stop_tokens=stop_tokens))
            else:
                reason = f"a solution must be a text, {fault}; give its text or take it out"
                rejected.append(Rejection(row=row_number, id=row.id, solution=place, reason=reason))
    problem = Problem(row=number, id=first.id, text=first.problem, answer=answer, solutions=tuple(usable))
    return problem, rejected


def _text_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return f"got {quoted(value)}"
    if not value.strip():
        return "got an empty one"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"got half a surrogate pair at character {error.start}"
    return None


def _answer(record: Mapping[str, Any], name: str) -> str | None:
    """The gold answer as text; None where there is none."""
    value = record.get(name)
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        if value is not None:
            raise RowError(f"column {quoted(name)} must hold a text or a number, got {quoted(value)}")
        return None
    return _clean(str(value).strip()) or None


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
