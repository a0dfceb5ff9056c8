"""From the command line to an exit status: check everything, then score chunk by chunk, then join and report.

For: the order of things. Does not know: how any of them is done. What needs torch or polars is imported after the
settings, the input file and the PRM's place have been found good.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from eduprm.core.command_line import UsageError, exit_status
from eduprm.rank.files import SolutionsFile, open_solutions
from eduprm.rank.prms import find_source
from eduprm.rank.settings import Settings, load_settings


def main(arguments: Sequence[str]) -> int:
    """Run the app; returns the exit status."""
    return exit_status("rerank", lambda: _run(load_settings(arguments)))


def output_path(settings: Settings, source: SolutionsFile) -> Path:
    """Where the ranked rows go.

    Raises:
        UsageError: onto the input, into a folder, or into another format than the input's.
    """
    if settings.output is None:
        name = settings.file.name
        for ending in (".gz", ".zst"):
            name = name.removesuffix(ending)
        return Path("runs") / "rerank" / f"{Path(name).stem}.ranked{source.suffix}"
    output = settings.output
    if output.is_dir():
        raise UsageError(
            f"--output: {output} is a folder; name a file in it, as in {output}/ranked{source.suffix}"
        )
    if output.exists() and output.samefile(settings.file):
        raise UsageError(f"--output: {output} is the input itself; name another file")
    if output.suffix in (".gz", ".zst"):
        raise UsageError(
            f"--output: the output is not compressed; got {output}, name it {output.with_suffix('')}"
        )
    others = {".jsonl": (".parquet", ".pq"), ".parquet": (".jsonl", ".ndjson", ".json")}[source.suffix]
    if output.suffix in others:
        named = output.with_suffix(source.suffix)
        raise UsageError(f"--output: the output has the input's format; got {output}, name it {named}")
    return output


def _run(settings: Settings) -> int:
    source = open_solutions(settings.file)
    output = output_path(settings, source)
    prm = find_source(settings)
    from eduprm.rank.trained_cut import as_trained

    if settings.columns.steps is None:  # else the steps are there
        settings, line = as_trained(settings, prm.saved_cut())
        if line is not None:
            print(f"rerank: {line}", file=sys.stderr)
    from eduprm.rank.job import Job
    from eduprm.rank.writing import WorkFolder
    from eduprm.report.pages import ranking

    with WorkFolder(output) as work:
        return Job(settings=settings, source=source, work=work, prm=prm, page=ranking).run(output)


def command() -> None:
    """Entry point of the installed program."""
    sys.exit(main(sys.argv[1:]))
