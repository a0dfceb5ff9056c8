"""One row of a problem file as one row of the problems table, or the reason why not."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.column_path import PathError, column_of, value_at
from eduprm.core.records import Record, RowError
from eduprm.forest.errors import shown
from eduprm.forest.schema import SPLITS
from eduprm.problems.gold import gold_answer, has_working

COMMON_NAMES: Mapping[str, tuple[str, ...]] = {
    "question": ("question", "problem", "prompt"),
    "answer": ("answer", "final_answer", "gold", "solution"),
    "problem_id": ("problem_id", "id", "unique_id", "idx"),
}
"""Column names that are looked for, in this order, where no mapping is given."""


def _looked_for(role: str) -> str:
    *others, last = COMMON_NAMES[role]
    return f"{', '.join(others)} or {last}"


class ProblemColumns(BaseModel):
    """Which column of a file holds what; None means: look for the common names (COMMON_NAMES).

    Examples:
        >>> ProblemColumns(question="query").question
        'query'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    question: str | None = Field(
        None,
        min_length=1,
        description=f"the problem's text, a column or a path such as doc.question; none: {_looked_for('question')}",
    )
    answer: str | None = Field(
        None, min_length=1, description=f"gold answer or worked answer; none: {_looked_for('answer')}"
    )
    problem_id: str | None = Field(
        None, min_length=1, description=f"id, a text or a number; none: {_looked_for('problem_id')}"
    )


def problem_row(
    record: Record, names: ProblemColumns, defaults: Mapping[str, str | None], *, require_answer: bool
) -> dict[str, Any]:
    """The row as a dict of the problems table's columns, or a RowError that says what is wrong and what to do."""
    if isinstance(record, RowError):
        raise record
    question = _text(record, "question", names.question)
    if question is None:
        raise RowError("the question is missing or empty; fill it in or drop the row")
    column = _column(record, "answer", names.answer, required=names.answer is not None)
    answer = _answer(record, column) if column is not None else None
    if answer is None and require_answer:
        raise RowError(f"no gold answer; fill it in, or {_mapping('answer')}")
    own_id = _text(record, "problem_id", names.problem_id)
    derived = hashlib.sha256(question.encode()).hexdigest()[:16]
    source = defaults["source"] or record.get("source")
    return {
        "problem_id": own_id or f"q-{derived}",
        "question": question,
        "answer": answer,
        "prompt_token_ids": _prompt(record.get("prompt_token_ids")),
        "source": _encodable(source, "source") if isinstance(source, str) and source else defaults["stem"],
        "split": record["split"] if record.get("split") in SPLITS else defaults["split"],
        "metadata": _metadata(record.get("metadata")),
    }


def worked_row(record: Record, names: ProblemColumns, *, need_working: bool) -> dict[str, Any]:
    """The row as a dict of problem_id, question, answer (the gold one) and worked (the answer as it stands).

    Raises:
        RowError: what is wrong and what to do.
    """
    row = problem_row(record, names, {"source": "file", "stem": None, "split": None}, require_answer=True)
    assert not isinstance(record, RowError)
    column = _column(record, "answer", names.answer, required=True)
    assert column is not None
    worked = _value(record, column)
    if not isinstance(worked, str) or not has_working(worked, row["answer"]):
        if need_working:
            raise RowError(
                f"column {column!r}: a final answer alone, {shown(worked)}, and no worked one; {_mapping('answer')}"
            )
        worked = None
    return {name: row[name] for name in ("problem_id", "question", "answer")} | {"worked": worked}


def _column(record: Mapping[str, Any], role: str, chosen: str | None, *, required: bool) -> str | None:
    """The row's column for a role: the chosen one, else the first common name that holds something."""
    if chosen is not None:
        if column_of(chosen, record) is None and required:
            have = ", ".join(map(str, record)) or "none"
            raise RowError(
                f"no column {chosen!r} for the {role}, only {have}; name another: {_mapping(role)}"
            )
        return chosen
    held = [name for name in COMMON_NAMES[role] if record.get(name) is not None]
    if not held and required:
        looked = ", ".join(COMMON_NAMES[role])
        have = ", ".join(map(str, record)) or "none"
        raise RowError(f"no {role} in {looked} (the row has {have}); {_mapping(role)}")
    return held[0] if held else None


def _mapping(role: str) -> str:
    """What to do, for the two that read problems: the apps by a flag, the package by an argument."""
    return f"map its column with --problem.columns.{role.replace('_', '-')} NAME (columns={{'{role}': NAME}} in Python)"


def _value(record: Mapping[str, Any], column: str) -> Any:
    """What stands in a column, which may be a path; None where there is no such column."""
    if column_of(column, record) is None:
        return None
    try:
        return value_at(record, column)
    except PathError as error:
        if not error.by_shape:
            return None
        raise RowError(f"column {column!r}: {error}; correct the columns mapping") from None


def _text(record: Mapping[str, Any], role: str, chosen: str | None) -> str | None:
    """A question or an id as text; None where it is null or blank."""
    column = _column(record, role, chosen, required=role == "question" or chosen is not None)
    value = _value(record, column) if column is not None else None
    if role == "problem_id" and isinstance(value, int | float) and not isinstance(value, bool):
        whole = math.isfinite(value) and value == int(value)
        value = str(int(value)) if whole else value
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError(
            f"column {column!r}: expected text, got {shown(value)}; map the column that holds text"
        )
    return _encodable(value, column) if value.strip() else None


def _answer(record: Mapping[str, Any], column: str) -> str | None:
    value = _value(record, column)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        value = str(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RowError(f"column {column!r}: expected an answer as text or number, got {shown(value)}")
    answer = gold_answer(_encodable(value, column))
    if answer is None:
        why = "a worked answer without '#### x' or \\boxed{x}"
        raise RowError(
            f"column {column!r}: {why}: {shown(value)}; add one, or map the column of final answers"
        )
    return answer


def _prompt(value: Any) -> list[int] | None:
    if value is None or (isinstance(value, list) and all(type(i) is int and 0 <= i < 2**31 for i in value)):
        return value
    raise RowError(
        f"column 'prompt_token_ids': expected a list of ids or null, got {shown(value)}; drop the column"
    )


def _metadata(value: Any) -> str | None:
    """The row's metadata as a JSON text."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(f"column 'metadata': expected an object or JSON, got {shown(value)}") from None
        return _encodable(value, "metadata")
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)


def _encodable(text: str, column: str | None) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        why = f"half a surrogate pair at character {error.start}"
        raise RowError(f"column {column!r}: {why}; write the character itself, or its full pair") from None
    return text
