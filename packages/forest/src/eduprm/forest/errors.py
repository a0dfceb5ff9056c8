"""The one error of this package: a broken table, said in one line that names column, row and reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a table something is wrong: the row (from 0; the text counts from 1), the node's own names if known."""

    row: int
    problem_id: str | None = None
    tree: str | None = None
    node_id: int | None = None

    def __str__(self) -> str:
        names = {"problem": self.problem_id, "tree": self.tree, "node": self.node_id}
        known = ", ".join(f"{name} {shown(value)}" for name, value in names.items() if value is not None)
        return f"row {self.row + 1}" + (f" ({known})" if known else "")


class ForestError(ValueError):
    """A table that breaks a rule, or a file that holds none; the message is a single line.

    Attributes: ``why`` (expected and got), ``column``, ``place`` and ``file``, the last three None where
    the complaint is not about one column, one row or one file.

    Examples:
        >>> print(ForestError("expected 0 or more, got -1", column="token_ids", place=Place(row=3)))
        column 'token_ids', row 4: expected 0 or more, got -1
    """

    def __init__(
        self,
        why: str,
        *,
        column: str | None = None,
        place: Place | None = None,
        file: str | Path | None = None,
    ) -> None:
        self.why, self.column, self.place, self.file = why, column, place, file
        parts = [f"column {column!r}"] if column is not None else []
        parts += [str(place)] if place is not None else []
        head = ", ".join(parts)
        named = f"{file}: " if file is not None else ""
        super().__init__(named + (f"{head}: {why}" if head else why))

    def in_file(self, file: str | Path) -> ForestError:
        """The same complaint, with the name of the file that the table was read from."""
        return ForestError(self.why, column=self.column, place=self.place, file=file)


def shown(value: object) -> str:
    """The value's repr (so control characters show as escapes), cut so that a message stays one line."""
    text = repr(value.to_list() if isinstance(value, pl.Series) else value).replace("\n", " ")
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def place_of(df: pl.DataFrame, row: int) -> Place:
    """The place of a row, with whichever of problem_id, tree and node_id the table holds."""
    place = Place(row=row)
    for name in ("problem_id", "tree", "node_id"):
        if name in df.columns:
            place = replace(place, **{name: df[name][row]})
    return place
