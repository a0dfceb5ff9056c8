"""What a row must hold, and how rows become problems.

For turning mappings (a line's JSON object, a Parquet row) into checked records.
A whole row is refused with `RowError`; one bad solution of a good row only becomes a `Rejection`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from eduprm.core.column_path import flattened
from eduprm.core.errors import quoted
from eduprm.core.records import RowError
from eduprm.label import strip_stop_tokens
from eduprm.rank.errors import Rejection
from eduprm.rank.fields import read_answer, read_id, read_problem, text_fault, value_of
from eduprm.rank.layouts import Layout, missing_column, solutions_path
from eduprm.rank.settings_parts import Columns

ADDED_NAMES: dict[Layout, tuple[str, ...]] = {
    "problem": ("ranked", "chosen"),
    "solution": ("rank", "score", "chosen", "steps", "step_scores", "final_answer", "correct"),
}
"""Columns that are added to the rows of each layout."""


class Known(NamedTuple):
    """A problem that stands in another file than the solutions."""

    problem: str
    answer: str | None


Lookup = Callable[[str], Known | None]
"""Finds a problem by its id."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The fields of one row that matter here; `solutions` still unchecked.

    `steps`, where the row is a solution already cut, join to its only solution; `joined`: line breaks were put between
    them. `has_answer`: the row has the column of the gold answer, which may hold none.
    """

    id: str
    problem: str
    solutions: Sequence[Any]
    answer: str | None
    steps: tuple[str, ...] | None = None
    joined: bool = False
    has_answer: bool = True


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A usable solution: `row` (from 1) and, within a row's list, `index` (from 0; None: the row is the solution).

    `stop_tokens` are the texts of stop tokens that were taken off the end of its text. `steps` join to the text; None:
    it has yet to be cut.
    """

    row: int
    index: int | None
    text: str
    stop_tokens: tuple[str, ...] = ()
    steps: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with its usable solutions. `answer` None: there is nothing to grade against."""

    row: int
    id: str
    text: str
    answer: str | None
    solutions: tuple[Solution, ...]


def read_row(
    record: Mapping[str, Any], columns: Columns, layout: Layout, lookup: Lookup | None = None
) -> Row:
    """Check the types of one row.

    Args:
        record: the row.
        columns: names or paths of its columns.
        layout: what a row is.
        lookup: where the problems stand in another file.

    Raises:
        RowError: a column is missing or holds something else than it should.

    Examples:
        >>> read_row({"id": 7.0, "problem": "2*3?", "solution": "6"}, Columns(), "solution").id
        '7'
        >>> row = {"id": 1, "doc": {"q": "2*3?"}, "resps": [["6", "5"]]}
        >>> read_row(row, Columns(problem="doc.q", solutions="resps"), "problem").solutions
        ['6', '5']
    """
    reason = missing_column(record, columns, layout, with_problem=lookup is None)
    if reason is not None:
        raise RowError(reason)
    key = read_id(record, columns.id, flag="columns.id")
    answer, has_answer = read_answer(record, columns.answer)
    if lookup is None:
        problem = read_problem(record, columns.problem, flag="columns.problem")
    else:
        known = lookup(key)
        if known is None:
            raise RowError("no problem of this id in --problems.file; add it there, or mend the id")
        problem, answer = known.problem, known.answer if answer is None else answer
    row = Row(id=key, problem=problem, solutions=(), answer=answer, has_answer=has_answer)
    return _with_solutions(row, record, columns, layout)


def _with_solutions(row: Row, record: Mapping[str, Any], columns: Columns, layout: Layout) -> Row:
    path = solutions_path(columns, layout)
    if columns.steps is not None:
        steps, joined = _joined(value_of(record, path, flag="columns.steps"), path)
        return replace(row, solutions=("".join(steps),), steps=steps, joined=joined)
    if layout == "solution":
        value = value_of(record, path, flag="columns.solution")
        if isinstance(value, list):
            raise RowError(
                f"column {quoted(path)} must hold the text of one solution, got {quoted(value)}; a list of solutions "
                f"is named with --columns.solutions {path}, the steps of one with --columns.steps {path}"
            )
        return replace(row, solutions=(value,))
    value = value_of(record, path, flag="columns.solutions")
    solutions = list(flattened(value)) if isinstance(value, list) else []
    if not solutions:
        raise RowError(f"column {quoted(path)} must hold a list of at least one text, got {quoted(value)}")
    return replace(row, solutions=solutions)


def _joined(value: Any, path: str) -> tuple[tuple[str, ...], bool]:
    """Steps that join to a text: a line break after each that ends in no white space; and whether one was put."""
    if not isinstance(value, list) or not value:
        raise RowError(
            f"column {quoted(path)} must hold a list of the steps of one solution, got {quoted(value)}"
        )
    for index, step in enumerate(value):
        fault = text_fault(step)
        if fault is not None:
            raise RowError(f"column {quoted(path)}: step {index} must be a text, {fault}")
    last = len(value) - 1
    steps = tuple(
        step if index == last or step[-1].isspace() else step + "\n" for index, step in enumerate(value)
    )
    return steps, any(new != old for new, old in zip(steps, value, strict=True))


def build_problem(
    rows: Sequence[tuple[int, Row]], layout: Layout, same_gold: Callable[[str, str], bool]
) -> tuple[Problem, list[Rejection]]:
    """Join the rows of one problem, each with its number; solutions that cannot be used are listed apart.

    The first row's problem text and the first gold answer hold for all. White space around a problem makes it no other
    one, and gold answers that `same_gold` calls equal agree.
    """
    number, first = rows[0]
    answer = next((row.answer for _, row in rows if row.answer is not None), None)
    usable: list[Solution] = []
    rejected: list[Rejection] = []
    for row_number, row in rows:
        fault = None
        if row.problem.strip() != first.problem.strip():
            fault = f"its problem's text differs from row {number}'s, which has the same id; give it an id of its own"
        elif row.answer is not None and answer is not None and not same_gold(row.answer, answer):
            fault = f"its answer {quoted(row.answer)} differs from {quoted(answer)}, of the same id; make them agree"
        if fault is not None:
            rejected.append(Rejection(row=row_number, id=row.id, solution=None, reason=fault))
            continue
        for index, text in enumerate(row.solutions):
            fault, steps = text_fault(text), row.steps
            stop_tokens: tuple[str, ...] = ()
            if fault is None:
                text, stop_tokens = strip_stop_tokens(text)
                fault = text_fault(text)
            if stop_tokens and steps is not None:
                steps = _without_end(steps, text)
            place = index if layout == "problem" else None
            if fault is None:
                usable.append(
                    Solution(row=row_number, index=place, text=text, stop_tokens=stop_tokens, steps=steps)
                )
            else:
                reason = f"a solution must be a text, {fault}; {_remedy(text)}"
                rejected.append(Rejection(row=row_number, id=row.id, solution=place, reason=reason))
    problem = Problem(row=number, id=first.id, text=first.problem, answer=answer, solutions=tuple(usable))
    return problem, rejected


def _remedy(value: object) -> str:
    if isinstance(value, Mapping):
        return "name the text in it, as in --columns.solutions choices[].message.content"
    return "give its text or take it out"


def _without_end(steps: Sequence[str], text: str) -> tuple[str, ...]:
    """The steps that `text` still holds, the last of them cut where it ends; they join to it."""
    kept, left = [], len(text)
    for step in steps:
        if left > 0:
            kept.append(step[:left])
        left -= len(step)
    return tuple(kept)
