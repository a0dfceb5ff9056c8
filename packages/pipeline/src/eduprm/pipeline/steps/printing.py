"""What the commands print: the table on stdout, what to know about it, and where the files are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eduprm.core.command_line import quoted
from eduprm.core.progress import stderr_console
from eduprm.pipeline.steps.job import Scored

_SHOWN = 5


def print_summary(table: Table, scored: Scored, *, threshold: str) -> None:
    """The table, and what its figures leave out."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 110
    console.print(table)
    console.print(Text(threshold))
    num = scored.rejected.height
    if num:
        total = scored.all_rows.height + num - (scored.all_rows.height - scored.rows.height)
        console.print(
            Text(f'{num} of {total} rows were rejected and stand in no figure but "rejected as wrong"')
        )
    joined = scored.joined
    if joined.height:
        console.print(
            Text(
                f"in {joined.height} of {scored.rows.height} rows the steps carry no line breaks: "
                f"{joined['joiner'][0]!r} was put between them, as in the texts that the PRM was trained on"
            )
        )
    if scored.overlap is None:
        console.print(
            "overlap with training problems: not looked for (no --train-problems, none beside the PRM)"
        )
    else:
        console.print(
            Text(
                f"overlap with training problems: {scored.overlap['rows']} of {scored.all_rows.height} rows, looked "
                f"for by normalised text among {scored.overlap['num_training']} of {scored.overlap['training']}"
            )
        )


def print_undefined(result: pl.DataFrame) -> None:
    """Why F1 is missing, where it is: a subset without solutions of one kind."""
    for column, kind in (("num_error", "with"), ("num_correct", "without")):
        parts = result.filter(pl.col(column) == 0)["part"].to_list()
        if parts:
            print(f"F1 is not defined where there is no solution {kind} an error: {', '.join(parts)}")


def print_rejected(scored: Scored) -> None:
    """The first rejected rows, on stderr."""
    for row in scored.rejected.head(_SHOWN).iter_rows(named=True):
        place = row["source"] if row["row"] is None else f"{row['source']}, row {row['row']}"
        who = "" if row["id"] is None else f" (id {quoted(row['id'])})"
        stderr_console().print(f"{place}{who}: {row['reason']}", markup=False, soft_wrap=True)
    if scored.rejected.height > _SHOWN:
        stderr_console().print(f"and {scored.rejected.height - _SHOWN} more, see rejected.jsonl")


def print_paths(folder: Path, scored: Scored) -> None:
    """Where the files are."""
    names = [
        "report.json",
        "report.html",
        "rows.jsonl",
        *(["rejected.jsonl"] if scored.rejected.height else []),
    ]
    Console(highlight=False).print(f"{folder}: {', '.join(names)}", markup=False, soft_wrap=True)
