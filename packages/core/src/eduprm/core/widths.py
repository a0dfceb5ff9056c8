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
        cast.append(_cast(frame[name], wanted))
    return frame.with_columns(cast) if cast else frame


def _alike(have: Any, wanted: Any) -> bool:
    """Whether one width may become the other without rounding, if the values fit."""
    import polars as pl

    if isinstance(have, pl.List) and isinstance(wanted, pl.List):
        return _alike(have.inner, wanted.inner)
    both = have.is_integer() and wanted.is_integer()
    return bool(both or (have == pl.Float32 and wanted == pl.Float64))


def _cast(column: pl.Series, wanted: Any) -> pl.Series:
    import polars as pl

    try:
        return column.cast(wanted)
    except pl.exceptions.InvalidOperationError:
        # What does not fit becomes null, also inside lists, where a null adds to the count.
        lost = column.cast(wanted, strict=False)
        if isinstance(wanted, pl.List):
            fits = lost.list.eval(pl.element().null_count()) == column.list.eval(pl.element().null_count())
        else:
            fits = lost.is_null() == column.is_null()
        row = int((~fits).fill_null(False).arg_true()[0])
        raise MisfitError(column.name, row, wanted, column.to_list()[row]) from None
