"""From the command line to an exit status: settings, the run, and what is shown of it.

What needs torch or polars is imported after the settings, the input file and the PRM's place have been found good.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from eduprm.core.command_line import EXIT_FINE, EXIT_UNFINISHED, exit_status
from eduprm.rank.results import RankedFile
from eduprm.rank.run import rank_file
from eduprm.rank.settings import load_settings


def main(arguments: Sequence[str]) -> int:
    """Run the app; returns the exit status."""
    return exit_status("rerank", lambda: _run(arguments))


def _run(arguments: Sequence[str]) -> int:
    ranked = rank_file(load_settings(arguments), page=_page)
    _show(ranked)
    return EXIT_FINE if ranked.rejected is None else EXIT_UNFINISHED


def _page() -> Any:
    from eduprm.report.pages import ranking

    return ranking


def _show(ranked: RankedFile) -> None:
    from rich.console import Console

    from eduprm.rank.report import print_choice, print_paths, print_table

    console, report = Console(), ranked.report
    print_table(console, ranked.accuracies)
    print_choice(console, rule=report["chosen_by"], ties=report["ties"], problems=report["problems"])
    paths = [("ranked rows", ranked.output), ("report", ranked.report_file), ("to look at", ranked.page)]
    shown = [*paths, ("rejected rows", ranked.rejected)]
    print_paths(console, [(what, path) for what, path in shown if path is not None])


def command() -> None:
    """Entry point of the installed program."""
    sys.exit(main(sys.argv[1:]))
