"""A list column as one flat array of values plus the length of each list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl


@dataclass(frozen=True, slots=True)
class Ragged:
    """Values of all lists one after another, and the lists' lengths (int64, one per row).

    Examples:
        >>> lists = Ragged.from_series(pl.Series([[1, 2], [], [3]]))
        >>> lists.numbers().tolist(), lists.lengths.tolist(), lists.row_of(2)
        ([1, 2, 3], [2, 0, 1], 2)
    """

    values: pl.Series
    lengths: npt.NDArray[np.int64]

    @classmethod
    def from_series(cls, lists: pl.Series) -> Ragged:
        """From a polars list column without null lists (nulls inside lists are kept)."""
        lengths = lists.list.len().to_numpy().astype(np.int64)
        # polars explodes an empty list into a null, which would look like a null inside a list
        full = lists if lengths.all() else lists.filter(pl.Series(lengths > 0))
        return cls(full.explode() if len(full) else pl.Series([], dtype=_inner(lists)), lengths)

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """int64 [rows + 1]: list i lies in the flat values from offsets[i] to offsets[i + 1]."""
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths)])

    def positions_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Flat positions of the values of the given rows' lists, one list after another."""
        lengths = self.lengths[rows]
        shift = self.offsets[rows] - np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])[:-1]
        return np.repeat(shift, lengths) + np.arange(int(lengths.sum()))

    def numbers(self) -> npt.NDArray[Any]:
        """The flat values as numpy; of integer type only when none is null."""
        return self.values.to_numpy()

    def first_null(self) -> int | None:
        """Flat position of the first null inside a list."""
        return self.values.is_null().arg_max() if self.values.null_count() else None

    def row_of(self, position: int) -> int:
        """The row whose list holds the flat position."""
        return int(np.searchsorted(np.cumsum(self.lengths), position, side="right"))

    def show(self, position: int) -> str:
        """The value at a flat position and where in its list it stands, for a message."""
        value = self.values[position]
        return (
            f"{'null' if value is None else value} at index {position - self.offsets[self.row_of(position)]}"
        )


def to_lists(values: pl.Series, lengths: npt.NDArray[np.int64]) -> pl.Series:
    """The reverse of Ragged.from_series: a list column whose list i has ``lengths[i]`` of the flat values.

    Examples:
        >>> to_lists(pl.Series([1, 2, 3]), np.array([2, 0, 1])).to_list()
        [[1, 2], [], [3]]
    """
    at = pl.Series(np.repeat(np.arange(len(lengths)), lengths)).set_sorted()
    lists = (
        pl.DataFrame({"at": at, "values": values}).group_by("at", maintain_order=True).agg("values")["values"]
    )
    if lengths.all():
        return lists
    # an empty list has no row in the grouping: let it point at one that is appended
    found = np.where(lengths > 0, np.cumsum(lengths > 0) - 1, len(lists))
    return pl.concat([lists, pl.Series("values", [[]], dtype=lists.dtype)])[found]


def _inner(lists: pl.Series) -> pl.DataType:
    if not isinstance(lists.dtype, pl.List):
        raise TypeError(f"expected a list column, got {lists.dtype}")
    return lists.dtype.inner  # type: ignore[return-value]
