"""What a row of a file is: a problem with its solutions, or one solution; and whether its columns say so clearly.

For names and shapes of columns, before any value is judged.
A reference solution must never be ranked by mistake, so columns that could both hold the candidates are an error until
a flag names one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from eduprm.core.column_path import PathError, column_of, flattened, value_at
from eduprm.core.errors import quoted
from eduprm.rank.settings_parts import Columns

Layout = Literal["problem", "solution"]
"""What a row of the input is: a problem with all its solutions, or one solution."""

_MAX_SHOWN_COLUMNS = 12

# Names that evaluation tools and data sets give to what models wrote; the last word of a name counts.
_CANDIDATES = re.compile(
    r"(^|.*[^a-z])(solutions?|completions?|generations?|responses?|resps|samples?|outputs?|predictions?|preds"
    r"|candidates?|choices|rollouts?|attempts?|trajector(y|ies)|generated|texts)$"
)
_REFERENCES = re.compile(
    r"(^|[^a-z])(ref|refs|references?|gold|golden|gt|truth|ground|expected|target|original|official|human)([^a-z]|$)"
)


def find_layout(names: Mapping[str, Any], columns: Columns) -> Layout | None:
    """What a row with these columns is; None if it holds neither solutions nor a solution.

    Examples:
        >>> find_layout({"id": 1, "problem": "?", "solution": "6"}, Columns())
        'solution'
        >>> find_layout({"solution": "6"}, Columns(solutions="completions")) is None
        True
    """
    return next((layout for path, layout in _looked_for(columns) if column_of(path, names)), None)


def _looked_for(columns: Columns) -> list[tuple[str, Layout]]:
    """Paths that may hold what is ranked. Where one is named, the usual names are not looked for: a row without it is
    no reason to rank its reference."""
    if columns.steps is not None:
        return [(columns.steps, "solution")]
    named: list[tuple[str | None, Layout]] = [(columns.solutions, "problem"), (columns.solution, "solution")]
    given: list[tuple[str, Layout]] = [(path, layout) for path, layout in named if path is not None]
    return given or [("solutions", "problem"), ("solution", "solution")]


def solutions_path(columns: Columns, layout: Layout) -> str:
    """The path of what is ranked."""
    if layout == "problem":
        return columns.solutions or "solutions"
    return columns.steps or columns.solution or "solution"


def rival_columns(record: Mapping[str, Any], columns: Columns) -> str | None:
    """Why it is not clear which column of a row is to be ranked, with the flag that says so; None if it is.

    Args:
        record: a row, or the shape of all rows.
        columns: as set; one that is named there settles it.

    Examples:
        >>> rival_columns({"solution": "x", "completions": ["a", "b"], "scores": [1]}, Columns())
        "columns 'completions' and 'solution' could each hold what is to be ranked; name one: --columns.solutions \
completions, or --columns.solution solution"
        >>> rival_columns({"solution": "x", "completions": ["a"]}, Columns(solutions="completions")) is None
        True
    """
    if columns.steps or columns.solutions or columns.solution:
        return None
    chosen = next((name for name in ("solutions", "solution") if record.get(name) is not None), None)
    if chosen is None:
        return None
    rivals = [
        name
        for name, value in record.items()
        if name != chosen and _may_be_candidates(name, value, lists_only=chosen == "solutions")
    ]
    if not rivals:
        return None
    names = sorted({chosen, *rivals[:3]})
    flags = [
        f"--columns.{'solutions' if isinstance(record[name], list) else 'solution'} {name}" for name in names
    ]
    shown = f"{', '.join(map(quoted, names[:-1]))} and {quoted(names[-1])}"
    return f"columns {shown} could each hold what is to be ranked; name one: {', or '.join(flags)}"


def _may_be_candidates(name: str, value: Any, *, lists_only: bool) -> bool:
    lower = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()
    if name != "solution":
        if not _CANDIDATES.match(lower) or _REFERENCES.search(lower):
            return False
        if lists_only and not isinstance(value, list):
            return False
    items = list(flattened(value))
    return any(isinstance(item, str | Mapping) for item in items)


def missing_column(
    record: Mapping[str, Any], columns: Columns, layout: Layout | None, *, with_problem: bool = True
) -> str | None:
    """Why a row's columns are not enough, with what to do; None if they are.

    Args:
        record: a row, or the shape of all rows.
        columns: as set.
        layout: of the file, None if it shows none.
        with_problem: False where the problems stand in another file.
    """
    wanted = {"id": columns.id} | ({"problem": columns.problem} if with_problem else {})
    if layout is not None:
        wanted[_flag(columns, layout)] = solutions_path(columns, layout)
    for flag, path in wanted.items():
        if column_of(path, record) is None:
            return f"no column {quoted(path)}, got {_shown(record)}; name it with --columns.{flag}"
    if layout is None:
        paths = [path for path, _ in _looked_for(columns)]
        flags = "--columns.solutions or --columns.solution"
        return f"no column {' or '.join(map(quoted, paths))}, got {_shown(record)}; name it with {flags}"
    return None


def misplaced_path(
    shape: Mapping[str, Any], columns: Columns, layout: Layout, *, with_problem: bool = True
) -> str | None:
    """Why a path leads nowhere in the shape that all rows of a file have; None if all lead somewhere."""
    wanted = {"id": columns.id, _flag(columns, layout): solutions_path(columns, layout)}
    wanted |= {"problem": columns.problem} if with_problem else {}
    wanted |= {"answer": columns.answer} if columns.answer else {}
    for flag, path in wanted.items():
        try:
            value_at(shape, path)
        except PathError as error:
            if error.by_shape:
                return f"column {quoted(path)}: {error}; correct --columns.{flag}"
    return None


def _flag(columns: Columns, layout: Layout) -> str:
    if layout == "problem":
        return "solutions"
    return "solution" if columns.steps is None else "steps"


def _shown(record: Mapping[str, Any]) -> str:
    names = list(record)
    shown = ", ".join(map(quoted, names[:_MAX_SHOWN_COLUMNS])) or "none"
    return shown + (", …" if len(names) > _MAX_SHOWN_COLUMNS else "")
