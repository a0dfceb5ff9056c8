"""Step checks over frames: whole solutions, and the nodes of a forest.

What it is for: gold step labels beside Monte Carlo ones. It does not parse equations (see `steps`). A node is judged by
the lines that END in it, with everything above it on its path: "3 * 4 = 1" may go on to "2", so an open line says
nothing yet. Ours.
"""

from __future__ import annotations

from functools import lru_cache

import polars as pl

from eduprm.forest import topology
from eduprm.label.steps import check_steps

_MAX_LINE_CHARS = 20_000


def step_validity(solutions: pl.DataFrame, *, column: str = "text") -> pl.DataFrame:
    """Add what the step checker finds in each solution.

    Args:
        solutions: A frame with the solutions' texts in `column` (null counts as empty).
        column: Its name.

    Returns:
        The frame with num_equations Int32, num_wrong Int32, steps_valid Boolean (at least one equation and none wrong;
        null where there is no equation to judge).

    Examples:
        >>> frame = pl.DataFrame({"text": ["3 * 4 = 12\\n#### 12", "3 * 4 = 13", "it is 12"]})
        >>> step_validity(frame)["steps_valid"].to_list()
        [True, False, None]
    """
    if column not in solutions.columns:
        raise ValueError(f"expected a column {column!r}, got {solutions.columns}")
    counts = [_count(text or "") for text in solutions[column]]
    total = pl.Series("num_equations", [n for n, _ in counts], dtype=pl.Int32)
    wrong = pl.Series("num_wrong", [w for _, w in counts], dtype=pl.Int32)
    valid = pl.when(pl.col("num_equations") > 0).then(pl.col("num_wrong") == 0).alias("steps_valid")
    return solutions.with_columns(total, wrong).with_columns(valid)


def node_validity(forest: pl.DataFrame) -> pl.DataFrame:
    """Add gold step labels to the nodes of a forest.

    Args:
        forest: NODE_SCHEMA (preorder).

    Returns:
        The forest with node_valid Boolean (the equations on the lines that end in this node hold; null where no line
        with an equation ends in it) and path_valid Boolean (no line that ended in this node or above it held a wrong
        equation). A leaf ends its last line. A line of more than 20,000 characters counts as wrong.

    Examples:
        >>> forest = pl.DataFrame({"problem_id": ["p"] * 3, "tree": ["t"] * 3, "node_id": [0, 1, 2],
        ...     "parent_id": [None, 0, 0], "text": ["3 * 4 = 1", "2\\n#### 12", "3\\n#### 13"]})
        >>> node_validity(forest).select("node_valid", "path_valid").rows()
        [(None, True), (True, True), (False, False)]
    """
    shape = topology(forest)
    parent, is_leaf = shape.parent.tolist(), shape.is_leaf.tolist()
    own: list[bool | None] = []
    path: list[bool] = []
    open_line: list[str] = []
    for row, text in enumerate(forest["text"].to_list()):
        above = parent[row]
        lines = ((open_line[above] if above >= 0 else "") + text).split("\n")
        ended = lines if is_leaf[row] else lines[:-1]
        verdicts = [verdict for verdict in map(_line_valid, ended) if verdict is not None]
        own.append(all(verdicts) if verdicts else None)
        path.append((above < 0 or path[above]) and all(verdicts))
        # One character beyond the bound is enough to know; a whole line carried down a long chain would be quadratic.
        open_line.append(lines[-1][: _MAX_LINE_CHARS + 1])
    return forest.with_columns(
        pl.Series("node_valid", own, dtype=pl.Boolean), pl.Series("path_valid", path, dtype=pl.Boolean)
    )


def _count(text: str) -> tuple[int, int]:
    equations = [equation for check in check_steps(text) for equation in check.equations]
    return len(equations), sum(not equation.holds for equation in equations)


@lru_cache(maxsize=65_536)
def _line_valid(line: str) -> bool | None:
    """Whether the equations on one line hold, None where there is none; the same lines come back in every branch."""
    if len(line) > _MAX_LINE_CHARS:
        return False
    checks = check_steps(line)
    return checks[0].valid if checks and checks[0].has_equation else None
