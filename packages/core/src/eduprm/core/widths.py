"""Columns of another width brought to a schema's where no value changes: plain polars frames hold Int64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MisfitError", "with_widths"]


class MisfitError(ValueError):
    """A value that the wanted type cannot hold.

    Attributes: ``column``, ``row`` (from 0), ``wanted`` (a polars type) and ``value``.
    """

    def __init__(self, column: str, row: int, wanted: Any, value: Any) -> None:
        self.column, self.row, self.wanted, self.value = column, row, wanted, value
        super().__init__(f"column {column!r}, row {row}: expected values of {wanted}, got {value}")


def with_widths(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Return the frame with integers of the schema's widths, and Float64 where it has Float32; also inside lists.

    Other columns are left as they are, whatever their type; without any change the same frame is returned.

    Raises:
        MisfitError: an integer is beyond the wanted type.

    Examples:
        >>> import polars as pl
        >>> plain = pl.DataFrame({"leaf": [1, None], "ids": [[5, 6], []], "text": ["a", "b"]})
        >>> with_widths(plain, {"leaf": pl.Int32, "ids": pl.List(pl.Int32), "text": pl.Int8}).dtypes
        [Int32, List(Int32), String]
    """
    cast = []
    for name, wanted in schema.items():
        have = frame.schema.get(name)
        if have is None or have == wanted or not _alike(have, wanted):
            continue
        _check_range(frame[name], name, wanted)
        cast.append(frame[name].cast(wanted))
    return frame.with_columns(cast) if cast else frame


def _alike(have: Any, wanted: Any) -> bool:
    """Whether one width may become the other without rounding, if the values fit."""
    import polars as pl

    if isinstance(have, pl.List) and isinstance(wanted, pl.List):
        return _alike(have.inner, wanted.inner)
    both = have.is_integer() and wanted.is_integer()
    return bool(both or (have == pl.Float32 and wanted == pl.Float64))


def _check_range(column: pl.Series, name: str, wanted: Any) -> None:
    import polars as pl

    lists = isinstance(wanted, pl.List)
    have: Any = column.dtype
    inner, own = (wanted.inner, have.inner) if lists else (wanted, have)
    if not inner.is_integer():
        return
    low, high, least, most = pl.select(a=inner.min(), b=inner.max(), c=own.min(), d=own.max()).row(0)
    if low <= least and most <= high:
        return
    low, high = max(low, least), min(high, most)
    values = column.explode() if lists else column
    outside = (values < low) | (values > high)
    if not outside.any():
        return
    if lists:
        broken = pl.element().is_between(low, high).not_()
        outside = column.list.eval(broken).list.any()
    row = int(outside.fill_null(False).arg_true()[0])
    raise MisfitError(name, row, wanted, column.to_list()[row])
