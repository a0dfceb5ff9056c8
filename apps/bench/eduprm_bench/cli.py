"""The commands of the app: a name, its settings, and the function that runs it.

For which command is meant, mistakes as one line, exit statuses. A new command is a
line in `COMMANDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from eduprm.core.command_line import EXIT_FINE, EXIT_UNUSABLE, CommandSettings, exit_status, load_settings


class Command(NamedTuple):
    """`module.run(settings)` gives the exit status; imported only when its settings are found good.

    Settings are "module:class": one command's need what another's do without.
    """

    settings: str
    module: str
    summary: str


COMMANDS: dict[str, Command] = {
    "processbench": Command(
        "eduprm.pipeline.steps.settings:ProcessBenchSettings",
        "eduprm.pipeline.steps.processbench",
        "find the first wrong step (ProcessBench)",
    ),
    "prmbench": Command(
        "eduprm.pipeline.steps.settings:PrmBenchSettings",
        "eduprm.pipeline.steps.prmbench",
        "tell wrong steps from right ones (PRMBench)",
    ),
    "verify": Command(
        "eduprm.pipeline.steps.settings:VerifySettings",
        "eduprm.pipeline.steps.verify",
        "compare a published PRM's scores with those its model card prints",
    ),
    "sampling": Command(
        "eduprm.pipeline.sampling.settings:SamplingSettings",
        "eduprm.pipeline.sampling.run",
        "EDU sampling against others, PRMs on EDU trees against others",
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit status."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_usage())
        return EXIT_FINE if arguments else EXIT_UNUSABLE
    if name not in COMMANDS:
        print(f"bench: expected a command ({', '.join(COMMANDS)}), got {name!r}", file=sys.stderr)
        return EXIT_UNUSABLE
    command = COMMANDS[name]

    def run() -> int:
        place, _, wanted = command.settings.partition(":")
        kind: type[CommandSettings] = getattr(import_module(place), wanted)
        settings = load_settings(kind, arguments[1:])
        status: int = import_module(command.module).run(settings)
        return status

    return exit_status(f"bench {name}", run)


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    head = "usage: uv run apps/bench COMMAND [DATA ...] [--flags]\n\ncommands (each with --help):"
    return "\n".join([head, *lines])


def command() -> None:
    """Entry point of the installed program."""
    sys.exit(main(sys.argv[1:]))
