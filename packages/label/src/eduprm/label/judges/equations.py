"""The checker of equations (`eduprm.label.check_steps`): a path is wrong from the first line with a false one.

It needs no model and does not know the problem: what it cannot read counts as right. In the middle of a line it cannot
tell, unless a line before was wrong. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eduprm.forest import topology
from eduprm.label.step_frames import node_validity

__all__ = ["Judge"]


@dataclass(frozen=True)
class Judge:
    """Takes no options."""

    def verdicts(self, forest: pl.DataFrame) -> pl.Series:
        """Return False from a false equation on, True where a line ends and none was false, else null.

        Examples:
            >>> forest = pl.DataFrame({"problem_id": ["p"] * 4, "tree": ["t"] * 4, "node_id": [0, 1, 2, 3],
            ...     "parent_id": [None, 0, 0, 2], "text": ["3 * 4 =", " 12", " 13\\n", "#### 13"]})
            >>> Judge().verdicts(forest).to_list()
            [None, True, False, False]
        """
        ended = pl.Series(topology(forest).is_leaf) | forest["text"].str.strip_chars_end(" \t").str.ends_with(
            "\n"
        )
        valid = node_validity(forest)["path_valid"]
        told = pl.DataFrame({"valid": valid, "ended": ended})
        return told.select(said=pl.when("ended").then("valid").when(~pl.col("valid")).then(False))["said"]
