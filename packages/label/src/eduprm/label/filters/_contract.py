"""What a filter of solutions is."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["RowFilter"]


class RowFilter(Protocol):
    """A frozen class; its fields are the options, checked when it is made."""

    def keeps(self, labelled: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Return, per node, whether the solution that ends there is kept; bool [n], read at leaves only.

        Args:
            labelled: `eduprm.label.label_forest`'s, cut at the steps that carry labels; other nodes weigh 0.
        """
        ...
