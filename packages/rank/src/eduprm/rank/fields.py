"""Single fields of a row, at their columns' paths: the id, the problem's text, the gold answer.

For the rows of solutions and those of a second file of problems alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from eduprm.core.column_path import PathError, value_at
from eduprm.core.errors import quoted
from eduprm.core.records import RowError


def read_id(record: Mapping[str, Any], path: str, *, flag: str) -> str:
    """An id as text: white space around it does not count, and 7.0 is 7."""
    key = value_of(record, path, flag=flag)
    text = key.strip() if isinstance(key, str) else number_text(key)
    if not text or (isinstance(key, float) and not key.is_integer()):
        raise RowError(f"column {quoted(path)} must hold a text or a whole number, got {quoted(key)}")
    return _clean(text)


def read_problem(record: Mapping[str, Any], path: str, *, flag: str) -> str:
    """A problem's text."""
    problem = value_of(record, path, flag=flag)
    fault = text_fault(problem)
    if fault is not None:
        hint = f"; take one item of the list, as in --{flag} {path}[0]" if isinstance(problem, list) else ""
        raise RowError(f"column {quoted(path)} must hold the problem's text, {fault}{hint}")
    return str(problem)


def read_answer(record: Mapping[str, Any], path: str | None) -> tuple[str | None, bool]:
    """The gold answer as text, None where there is none; and whether the row has its column."""
    name = path or "answer"
    try:
        value = value_at(record, name)
    except PathError:
        return None, False
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None, True
    text = value.strip() if isinstance(value, str) else number_text(value)
    if text is None:
        raise RowError(f"column {quoted(name)} must hold a text or a number, got {quoted(value)}")
    return _clean(text) or None, True


def number_text(value: object) -> str | None:
    """A finite number as text, whole ones without a fraction; None for anything else.

    Examples:
        >>> number_text(14.0), number_text(14), number_text(0.5), number_text(True)
        ('14', '14', '0.5', None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return str(int(value)) if value == int(value) else repr(value)


def text_fault(value: object) -> str | None:
    """Why a value is no text that can be used; None if it is one."""
    if not isinstance(value, str):
        return f"got {quoted(value)}"
    if not value.strip():
        return "got an empty one"
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"got half a surrogate pair at character {error.start}"
    return None


def value_of(record: Mapping[str, Any], path: str, *, flag: str) -> Any:
    """What stands at a path; RowError, which names the flag, where nothing does."""
    try:
        return value_at(record, path)
    except PathError as error:
        remedy = f"; correct --{flag}" if error.by_shape else ""
        raise RowError(f"column {quoted(path)}: {error}{remedy}") from None


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
