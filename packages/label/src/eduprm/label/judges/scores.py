"""A scorer of steps: a path is wrong from the first step on that it scores below a threshold (arXiv 2501.07301).

The paper asks a language model; here any process reward model may have given the scores, a generative judge included.
They stand in the column `judge_score` of the labelled trees: apps/train writes it (`--label.judge-prm`).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eduprm.forest import topology

__all__ = ["COLUMN", "Judge"]

COLUMN = "judge_score"


@dataclass(frozen=True)
class Judge:
    """`threshold`, in (0, 1]: the score below which a step is wrong.

    Raises:
        ValueError: another threshold.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"expected threshold above 0 and up to 1, got {self.threshold}")

    def verdicts(self, forest: pl.DataFrame) -> pl.Series:
        """Return False from the first low score on, True at a score where none was low, else null.

        A solution is scored as a whole or not at all, so a leaf without a score has no verdict.

        Args:
            forest: with `judge_score`, Float64 in [0, 1] of the step that ends at a node, null where none was given.

        Raises:
            ValueError: there is no such column, or it holds what is no score.

        Examples:
            >>> forest = pl.DataFrame({"problem_id": ["p"] * 4, "tree": ["t"] * 4, "node_id": [0, 1, 2, 3],
            ...     "parent_id": [None, 0, 0, 2], "judge_score": [None, 0.9, 0.2, 0.8]})
            >>> Judge().verdicts(forest).to_list()
            [None, True, False, False]
        """
        if COLUMN not in forest.columns:
            raise ValueError(
                f"expected a column {COLUMN}, which apps/train writes with --label.judge-prm NAME; add it"
            )
        scores = forest[COLUMN].cast(pl.Float64)
        if not scores.is_between(0, 1).fill_null(True).all():
            raise ValueError(f"column {COLUMN}: expected scores from 0 to 1 or null, got others; mend it")
        low = (scores < self.threshold).fill_null(False).to_numpy()
        shape = topology(forest)
        fine = pl.Series(shape.ancestor_sum(low.astype("int64")) + low == 0)
        told = pl.DataFrame(
            {"fine": fine, "told": scores.is_not_null() | (~fine & ~pl.Series(shape.is_leaf))}
        )
        return told.select(said=pl.when("told").then("fine"))["said"]
