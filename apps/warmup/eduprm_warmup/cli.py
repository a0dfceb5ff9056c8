"""The command line of the app: settings, then `eduprm.teach.run`. torch is imported after they are found good."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eduprm.core.command_line import EXIT_FINE, exit_status, load_settings
from eduprm.teach.settings import WarmupSettings


def main(arguments: Sequence[str]) -> int:
    """Run the app; returns the exit status."""
    return exit_status("warmup", lambda: _run(load_settings(WarmupSettings, arguments)))


def _run(settings: WarmupSettings) -> int:
    from eduprm.teach.run import teach

    teach(settings)
    return EXIT_FINE


def command() -> None:
    """Entry point of the installed program."""
    sys.exit(main(sys.argv[1:]))
