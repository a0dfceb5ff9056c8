"""The command: settings in, stages in order, the table out."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eduprm.core.command_line import exit_status, load_settings
from eduprm.pipeline.settings import TrainSettings


def main(arguments: Sequence[str]) -> int:
    """Run the job; returns the exit status."""

    def run() -> None:
        settings = load_settings(TrainSettings, arguments)
        from eduprm.pipeline.run import run_stages

        run_stages(settings)

    return exit_status("train", run)


def command() -> None:
    """Entry point of the installed program."""
    sys.exit(main(sys.argv[1:]))
