"""``python -m eduprm.forest PATH [--problem ID] [--tree NAME]``: look at a forest in the terminal.

It parses arguments and prints; reading is in ``shards``, the view in ``view``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .counts import token_counts
from .errors import ForestError, shown
from .shards import read_forest
from .view import print_tree, visible

_MAX_LISTED = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the trees that were asked for, or a list of trees; returns the exit status (2 for an error)."""
    parser = argparse.ArgumentParser(
        prog="python -m eduprm.forest", description="Show the trees of a forest as text."
    )
    parser.add_argument("path", help="a Parquet file of a forest, or a folder of them")
    parser.add_argument("--problem", metavar="ID", help="show the trees of this problem only")
    parser.add_argument("--tree", metavar="NAME", help="show trees of this name only (edu, ht, ...)")
    parser.add_argument("--max-chars", type=int, default=80, help="cut longer texts (default 80)")
    parser.add_argument("--max-lines", type=int, default=400, help="lines per tree (default 400)")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    try:
        forest = read_forest(chosen.path)
        wanted = _select(forest, "tree", chosen.tree)
        wanted = _select(wanted, "problem_id", chosen.problem)
    except ForestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    keys = wanted.select("problem_id", "tree").unique(maintain_order=True)
    if chosen.problem is None and keys.height > 1:
        _print_list(wanted, console)
        return 0
    for problem_id, tree in keys.iter_rows():
        rows = wanted.filter((pl.col("problem_id") == problem_id) & (pl.col("tree") == tree))
        print_tree(rows, console=console, max_chars=chosen.max_chars, max_lines=chosen.max_lines)
    return 0


def _select(forest: pl.DataFrame, column: str, value: str | None) -> pl.DataFrame:
    if value is None:
        return forest
    found = forest.filter(pl.col(column) == value)
    if not found.height:
        names = forest[column].unique(maintain_order=True)
        some = ", ".join(shown(name) for name in names.head(5))
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ForestError(f"expected one of {some or 'none'}{more}, got {shown(value)}", column=column)
    return found


def _print_list(forest: pl.DataFrame, console: Console) -> None:
    counts = token_counts(forest)
    table = Table(title=f"{counts.height} trees", title_justify="left")
    for name in counts.columns:
        table.add_column(name, justify="left" if name in ("problem_id", "tree") else "right")
    for row in counts.head(_MAX_LISTED).iter_rows():
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    console.print(table)
    if counts.height > _MAX_LISTED:
        console.print(Text(f"… {counts.height - _MAX_LISTED} more", style="dim"))
    console.print(Text("Choose with --problem ID and --tree NAME."))


if __name__ == "__main__":
    sys.exit(main())
