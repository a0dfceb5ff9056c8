"""Rows that are left out of a run, and why, as messages of one line; where they are shown is not its business.

Text out of a user's file may hold control characters, so it is quoted and cut before it enters a message.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from eduprm.core.command_line import quoted


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A row, or one solution of it, that takes no part (fully).

    Attributes: `row` counts from 1 (in JSONL: the line); `id` None where it cannot be read; `solution` counts from 0
    within the row, None: the whole row; `reason`.
    """

    row: int
    id: str | None
    solution: int | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """The rejection as it stands in the file of rejected rows."""
        return asdict(self)

    def line(self, file: str) -> str:
        """One line for the terminal."""
        where = f"{file}: row {self.row}"
        where += "" if self.id is None else f" (id {quoted(self.id)})"
        where += "" if self.solution is None else f", solution {self.solution}"
        return f"{where}: {self.reason}"
