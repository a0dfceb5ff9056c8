"""When each leaf was found, and which is greedy: what best-of-n of a tree reads."""

from __future__ import annotations

import polars as pl

from .errors import ForestError
from .schema import FOUND_COLUMNS, check_columns, check_frame

FOUND_SCHEMA = pl.Schema(
    {"problem_id": pl.String(), "tree": pl.String(), "leaf": pl.Int32(), **FOUND_COLUMNS}
)
"""One row a leaf: its node id, the number in which it was found in its tree, and whether it is the greedy path."""


def found_leaves(df: pl.DataFrame) -> pl.DataFrame:
    """The leaves of a forest with FOUND_COLUMNS, in row order.

    The first n leaves in `order` are what the same search with a budget of n leaves would have given, where its
    strategy says so.

    Errors: ForestError when a column is missing, with what to do.

    Examples:
        >>> from eduprm.forest import NODE_SCHEMA
        >>> rows = [["p", "edu", 0, None, [5], [-0.5], [0.7], "4", "stop", 0, True]]
        >>> forest = pl.DataFrame(rows, schema={**NODE_SCHEMA, **FOUND_COLUMNS}, orient="row")
        >>> found_leaves(forest).rows()
        [('p', 'edu', 0, 0, True)]
    """
    check_frame(df)
    if missing := [name for name in FOUND_COLUMNS if name not in df.columns]:
        raise ForestError(
            f"expected the columns order and greedy, which say when a leaf was found and which is the greedy path; "
            f"{' and '.join(missing)} missing. A table of your own sampler: add both (eduprm.forest.FOUND_COLUMNS), on "
            "leaves `order` 0, 1, 2, ... in each tree and `greedy`, null on inner nodes. A forest of an eduprm search "
            "before these columns were: grow it again, or compute them with eduprm.search.replayed"
        )
    df = check_columns(df, FOUND_COLUMNS, not_null=())
    leaves = df.filter(pl.col("finish").is_not_null())
    return leaves.select("problem_id", "tree", pl.col("node_id").alias("leaf"), *FOUND_COLUMNS)
