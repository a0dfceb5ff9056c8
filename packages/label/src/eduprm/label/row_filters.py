"""Leave solutions of a labelled forest out of training, by a filter's name; what is left out is marked, not removed.

A row of training data is a solution: a path from the root to a leaf that has a weight. A node that several solutions
share keeps the part of its weight that belongs to those that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from eduprm.core import registry
from eduprm.forest import topology
from eduprm.label.filters._contract import RowFilter
from eduprm.label.question_weights import scaled

__all__ = ["FILTERS", "filter_rows"]

FILTERS = "eduprm.label.filters"


def filter_rows(
    labelled: pl.DataFrame, *, filter: str, options: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """Return a labelled forest whose columns `weight` and `scale` count the solutions that a filter keeps.

    Args:
        labelled: `label_forest`'s; nodes at whose end no labelled step ends weigh 0.
        filter: a module of `eduprm.label.filters`, or "package.module:Filter".
        options: of the filter.

    Returns:
        The forest with a column `kept` Boolean: of every leaf with a weight, whether its solution is kept; null at
        other nodes. `scale` (1 where there is none) is multiplied by the kept part of each node's solutions.

    Raises:
        ValueError: no such filter or option, or one that answers for another number of nodes.

    Examples:
        >>> trees = pl.DataFrame({"problem_id": "p", "tree": "t", "node_id": [0, 1, 2], "parent_id": [None, 0, 0],
        ...     "text": ["3 * 4", " = 12", " = 13"], "value": [0.5, 1.0, 1.0], "weight": [2.0, 1.0, 1.0]})
        >>> filter_rows(trees, filter="consensus").select("weight", "kept").rows()  # 13 is right by the values alone
        [(1.0, None), (1.0, True), (0.0, False)]
    """
    chosen: RowFilter = registry.make(FILTERS, filter, "Filter", options)
    shape = topology(labelled)
    keeps = np.asarray(chosen.keeps(labelled))
    if keeps.shape != (shape.num_nodes,) or keeps.dtype != np.bool_:
        raise ValueError(
            f"filter {filter}: expected {shape.num_nodes} booleans, got {keeps.dtype} of shape {keeps.shape}"
        )
    weight = labelled["weight"].to_numpy()
    rows = shape.is_leaf & (weight > 0)
    below, kept_below = (shape.subtree_sum(marks.astype(np.int64)) for marks in (rows, rows & keeps))
    part = np.where(below > 0, kept_below / np.maximum(below, 1), 0.0)
    told = pl.select(kept=pl.when(pl.Series(rows)).then(pl.Series(keeps)))["kept"]
    return scaled(labelled, pl.Series(part)).with_columns(told)
