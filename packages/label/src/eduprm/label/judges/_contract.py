"""What a judge of steps is."""

from __future__ import annotations

from typing import Protocol

import polars as pl

__all__ = ["PathJudge"]


class PathJudge(Protocol):
    """A class; its keyword arguments are the options, with defaults for all."""

    def verdicts(self, forest: pl.DataFrame) -> pl.Series:
        """Return, per node in the order given, whether its path is right up to its end: Boolean, null: cannot tell.

        Null at a leaf: the judge has no verdict on the solution that ends there, and nobody agrees with it.

        Args:
            forest: NODE_SCHEMA (preorder), with its label columns.
        """
        ...
