"""Console tables of the benchmarks of steps: the PRM part by part, the judges that read nothing below it.

They know the frames of `processbench` and `prmbench` and rich; they compute nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from eduprm.bench.steps.prmbench import TOTAL
from eduprm.bench.steps.processbench import MEAN


def processbench_table(results: Mapping[str, pl.DataFrame]) -> Table:
    """A rich table of `evaluate_processbench` results by judge; the first judge's in full, of the others the mean.

    Args:
        results: frames of one seed by the judge's name.
    """
    table = _table("ProcessBench, % [95 %]", "wrong/right")
    for name in ("right step found", "none where none is", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for judge, frame in results.items():
        full = judge == next(iter(results))
        for row in frame.iter_rows(named=True):
            if full or row["part"] == MEAN:
                cells = [_cell(row, name) for name in ("acc_error", "acc_correct", "f1")]
                sizes = f"{row['num_error']}/{row['num_correct']}"
                style = "bold" if full and row["part"] == MEAN else ""
                table.add_row(*map(Text, (_label(judge, row["part"], MEAN), sizes, *cells)), style=style)
    return table


def prmbench_table(results: Mapping[str, pl.DataFrame]) -> Table:
    """A rich table of `evaluate_prmbench` results by judge; the first judge's in full, of the others the total."""
    table = _table("PRMBench, % [95 %]", "wrong/right steps")
    for name in ("PRMScore", "F1 right", "F1 wrong", "first found"):
        table.add_column(name, justify="right", no_wrap=True)
    for judge, frame in results.items():
        full = judge == next(iter(results))
        for row in frame.iter_rows(named=True):
            if full or row["part"] == TOTAL:
                figures = ("prm_score", "f1", "negative_f1", "first_error_acc")
                cells = [_cell(row, name, interval=name == "prm_score") for name in figures]
                sizes = f"{row['num_wrong']}/{row['num_right']}"
                style = "bold" if full and row["part"] == TOTAL else ""
                table.add_row(*map(Text, (_label(judge, row["part"], TOTAL), sizes, *cells)), style=style)
    return table


def _table(title: str, sizes: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("judge, part", no_wrap=True)
    table.add_column(sizes, justify="right", no_wrap=True)
    return table


def _label(judge: str, part: str, whole: str) -> str:
    return f"{judge}, {whole}" if part == whole else f"  {part}"


def _cell(row: Mapping[str, Any], name: str, *, interval: bool = True) -> str:
    if math.isnan(row[name]):
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    shown = f" [{100 * low:4.1f}, {100 * high:5.1f}]" if interval else ""
    return f"{100 * row[name]:.1f}{shown}"
