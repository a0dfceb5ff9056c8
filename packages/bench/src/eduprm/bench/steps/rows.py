"""From records to rows that can be scored: an id, a problem, steps; the others rejected with a reason.

A bad row does not stop the rest.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from eduprm.bench.steps.files import BenchFileError, Source
from eduprm.core.records import Record, RowError

ITEM_SCHEMA: dict[str, pl.DataType] = {
    "part": pl.String(),
    "id": pl.String(),
    "problem": pl.String(),
    "steps": pl.List(pl.String()),
}
"""What all items have: part (subset or class of error), id (unique in its part), problem, steps."""

REJECTED_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "row": pl.Int64(),
    "part": pl.String(),
    "id": pl.String(),
    "reason": pl.String(),
}
"""Rows rejected: row counts from 1 in its source (in JSON Lines: the line); part and id null where unreadable."""

_WHOLE = re.compile(r"([+-]?[0-9]{1,9})(\.0*)?")


class Items(NamedTuple):
    """Good rows (`ITEM_SCHEMA` and the gold columns of the benchmark) and those rejected (`REJECTED_SCHEMA`)."""

    items: pl.DataFrame
    rejected: pl.DataFrame


def collect(
    sources: Sequence[Source],
    check: Callable[[Mapping[str, Any], str], dict[str, Any]],
    *,
    columns: Sequence[str],
    schema: Mapping[str, pl.DataType],
) -> Items:
    """Check every row of all sources.

    Args:
        sources: opened by `open_sources`.
        check: gives the item of a record (row and part of its source), or raises `RowError`.
        columns: what a record must hold, its id first; a source none of whose rows holds them is refused as a whole.
        schema: of the items.

    Raises:
        BenchFileError: a source without any usable row, with the columns it has or its first fault.
    """
    items: list[dict[str, Any]] = []
    rejected: list[tuple[str, int, str | None, str | None, str]] = []
    seen: dict[tuple[str, str], str] = {}
    for source in sources:
        before, faults = len(items), len(rejected)
        for row, record in source.rows:
            known = record.get(columns[0]) if isinstance(record, Mapping) else None
            try:
                item = check(_mapping(record, columns), source.part)
                key = item["part"], item["id"]
                if key in seen:
                    raise RowError(f"id {item['id']!r} was used by {seen[key]}; make ids unique")
                seen[key] = f"{source.name}, row {row}"
                items.append(item)
            except RowError as error:
                shown = known if isinstance(known, str) else _whole_text(known)
                rejected.append((source.name, row, source.part, shown, str(error)))
        if len(items) == before:
            first = _first(rejected[faults]) if len(rejected) > faults else "no rows"
            raise BenchFileError(f"{source.name}: no usable row ({first})")
    frame = pl.DataFrame(items, schema=dict(schema))
    return Items(frame, pl.DataFrame(rejected, schema=REJECTED_SCHEMA, orient="row"))


def _first(rejection: tuple[str, int, str | None, str | None, str]) -> str:
    _, row, _, key, reason = rejection
    return f"row {row}: {reason}" if key is None else f"row {row} (id {short(key)}): {reason}"


def _mapping(record: Record, columns: Sequence[str]) -> Mapping[str, Any]:
    if isinstance(record, RowError):
        raise record
    missing = [name for name in columns if name not in record]
    if missing:
        raise RowError(
            f"expected columns {', '.join(columns)}, got {', '.join(map(str, record)) or 'none'}: "
            f"no {', '.join(missing)}"
        )
    return record


def draw_rows(items: pl.DataFrame, limit: int) -> pl.DataFrame:
    """So many rows of each part, in the order they had; a larger limit adds rows to those of a smaller one.

    Drawn by a hash of part and id, because files come sorted by label.

    Examples:
        >>> items = pl.DataFrame({"part": ["a", "a", "b"], "id": ["1", "2", "1"]})
        >>> draw_rows(items, 1)["part"].to_list()
        ['a', 'b']
    """
    chosen = [index for indices in drawing_order(items).values() for index in indices[:limit]]
    return items[sorted(chosen)]


def drawing_order(items: pl.DataFrame) -> dict[str, list[int]]:
    """Per part, the indices of its rows in the order in which they are drawn."""
    order: dict[str, list[tuple[str, int]]] = {}
    for index, (part, key) in enumerate(items.select("part", "id").iter_rows()):
        digest = hashlib.sha256(f"draw\x1f{part}\x1f{key}".encode()).hexdigest()
        order.setdefault(part, []).append((digest, index))
    return {part: [index for _, index in sorted(pairs)] for part, pairs in order.items()}


def text_of(record: Mapping[str, Any], name: str) -> str:
    """A text that is not blank.

    Raises:
        RowError: it is something else.
    """
    value = record[name]
    if not _is_text(value):
        raise RowError(f"expected text in {name!r}, got {short(value)}")
    return value


def steps_of(record: Mapping[str, Any], name: str) -> list[str]:
    """A list of one or more texts, none of them blank.

    Raises:
        RowError: it is something else.
    """
    value = record[name]
    if not isinstance(value, list) or not value:
        raise RowError(f"expected a list of steps in {name!r}, got {short(value)}")
    for index, step in enumerate(value):
        if not _is_text(step):
            raise RowError(f"expected text in step {index} of {name!r}, got {short(step)}")
    return value


def id_of(record: Mapping[str, Any], name: str) -> str:
    """An id: a text or a whole number, which may be written as 7.0.

    Raises:
        RowError: it is something else.
    """
    value = record[name]
    text = value if _is_text(value) else _whole_text(value)
    if text is None:
        raise RowError(f"expected a text or a whole number in {name!r}, got {short(value)}")
    return str(text)


def whole_number(value: object) -> int | None:
    """A whole number, written as one, as a float (1.0) or as text ("1", "1.0"); None for anything else.

    Examples:
        >>> [whole_number(value) for value in (1, -1.0, "2", " 3.0 ", "one", 1.5, True, None)]
        [1, -1, 2, 3, None, None, None, None]
    """
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value.strip())
        return int(match[1]) if match else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


def _whole_text(value: object) -> str | None:
    number = None if isinstance(value, str) else whole_number(value)
    return None if number is None else str(number)


def _is_text(value: object) -> bool:
    """Whether it is a text that is not blank, without halves of surrogate pairs (JSON can hold them)."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(value: object) -> str:
    """A value out of a file as a message shows it: ASCII, at most 60 characters."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
