"""Columns of another width brought to a schema's: plain polars frames hold Int64 and Float64.

Integers keep their values; floats are rounded as the schema's own are. A column of nulls alone, to which polars gives
no type of its own, fits every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MisfitError", "with_widths"]


class MisfitError(ValueError):
    """A value that the wanted type cannot hold.

    Attributes: ``column``, ``row`` (from 0; the message counts from 1), ``wanted`` (a polars type) and ``value``.
    """

    def __init__(self, column: str, row: int, wanted: Any, value: Any) -> None:
        self.column, self.row, self.wanted, self.value = column, row, wanted, value
        super().__init__(f"column {column!r}, row {row + 1}: expected values of {wanted}, got {value}")


def with_widths(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return the frame with integers and floats of the schema's widths, also inside lists; Float32 rounds.

    Other columns are left as they are, whatever their type; without any change the same frame is returned.

    Raises:
        MisfitError: an integer is beyond the wanted type, or a finite float is infinite there.

    Examples:
        >>> import polars as pl
        >>> plain = pl.DataFrame({"leaf": [1, None], "ids": [[5, 6], []], "text": ["a", "b"]})
        >>> with_widths(plain, {"leaf": pl.Int32, "ids": pl.List(pl.Int32), "text": pl.Int8}).dtypes
        [Int32, List(Int32), String]
        >>> try:
        ...     with_widths(pl.DataFrame({"logprobs": [[-0.5], [-1e39]]}), {"logprobs": pl.List(pl.Float32)})
        ... except MisfitError as error:
        ...     print(error)
        column 'logprobs', row 2: expected values of List(Float32), got [-1e+39]
    """
    cast = []
    for name, wanted in schema.items():
        have = frame.schema.get(name)
        if have is None or have == wanted or not _alike(have, wanted):
            continue
        cast.append(_cast(frame[name], wanted))
    return frame.with_columns(cast) if cast else frame


def _alike(have: Any, wanted: Any) -> bool:
    """Whether one width may become the other, if the values fit."""
    import polars as pl

    if isinstance(have, pl.List) and isinstance(wanted, pl.List):
        return _alike(have.inner, wanted.inner)
    floats = pl.Float32, pl.Float64
    if have == pl.Null:
        return True
    return bool((have.is_integer() and wanted.is_integer()) or (have in floats and wanted in floats))


def _cast(column: pl.Series, wanted: Any) -> pl.Series:
    import polars as pl

    try:
        made = column.cast(wanted)
        _check_finite(column, made)
        return made
    except pl.exceptions.InvalidOperationError:
        # What does not fit becomes null, also inside lists, where a null adds to the count.
        lost = column.cast(wanted, strict=False)
        if isinstance(wanted, pl.List):
            fits = lost.list.eval(pl.element().null_count()) == column.list.eval(pl.element().null_count())
        else:
            fits = lost.is_null() == column.is_null()
        row = int((~fits).fill_null(False).arg_true()[0])
        raise MisfitError(column.name, row, wanted, column.to_list()[row]) from None


def _check_finite(column: pl.Series, made: pl.Series) -> None:
    """Refuse what the cast to a narrower float made infinite."""
    import polars as pl

    if isinstance(column.dtype, pl.List):
        if column.dtype.inner != pl.Float64:
            return
        before, after = (own.list.eval(pl.element().is_finite().sum()).list.first() for own in (column, made))
        lost = before != after
    elif column.dtype == pl.Float64:
        lost = column.is_finite() & ~made.is_finite()
    else:
        return
    if lost.any():
        row = int(lost.fill_null(False).arg_true()[0])
        raise MisfitError(column.name, row, made.dtype, column.to_list()[row])
