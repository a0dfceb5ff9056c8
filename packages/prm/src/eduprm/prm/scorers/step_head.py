"""A classifier's P(right) of each step alone, at its last token; the least of them is the solution's.

Of a head trained on labels that end at the first wrong step (label rule `first_error`): what it says of steps behind
a wrong one was never trained, so the last score of a solution says nothing, and the first low one everything.
"""

from __future__ import annotations

from typing import ClassVar

from eduprm.prm.config import Aggregate
from eduprm.prm.scorers import head

__all__ = ["Scorer"]


class Scorer(head.Scorer):
    """As `head`, but for how step scores become the one of a solution."""

    solution: ClassVar[Aggregate] = "min"
