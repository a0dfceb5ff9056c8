"""Rank a file in one call: check everything, then score chunk by chunk, join and report.

What needs torch or polars is imported after the input file and the PRM's place have been found good.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eduprm.core.errors import UsageError
from eduprm.core.files import file_digest
from eduprm.rank.files import SolutionsFile, open_solutions
from eduprm.rank.prms import find_source
from eduprm.rank.results import RankedFile
from eduprm.rank.settings import RankSettings


def rank_file(settings: RankSettings, *, page: Callable[[], Any] | None = None) -> RankedFile:
    """Rank the solutions of a file by a PRM, and write the ranked rows with a report beside them.

    What is to be known on the way (which PRM and steps, rows left out or rejected) is said on standard error. A killed
    run that is started again takes up the chunks that it finished.

    Args:
        settings: the file, the PRM, and how to cut, rank and write.
        page: gives what draws a page (`eduprm.rank.results.RankPage`), asked once the file and the PRM are found good;
            None: no page.

    Raises:
        UsageError: the settings, the file, the PRM or the output make the run impossible, or no solution can be ranked.
    """
    source = open_solutions(settings.file)
    output = output_path(settings, source)
    prm = find_source(settings)
    from eduprm.rank.trained_cut import as_trained

    if settings.columns.steps is None:  # else the steps are there
        settings, line = as_trained(settings, prm.saved_cut())
        if line is not None:
            print(f"rerank: {line}", file=sys.stderr)
    from eduprm.rank.file_rules import last_line
    from eduprm.rank.job import Job
    from eduprm.rank.writing import WorkFolder

    if (line := last_line(settings, solution=prm.solution())) is not None:
        print(f"rerank: {line}", file=sys.stderr)
    with WorkFolder(output) as work:
        drawn = None if page is None else page()
        return Job(settings=settings, source=source, work=work, prm=prm, page=drawn).run(output)


def output_path(settings: RankSettings, source: SolutionsFile) -> Path:
    """Where the ranked rows go.

    Raises:
        UsageError: onto the input, into a folder, into another format than the input's, or, where nobody named it, onto
            what another file was ranked to.
    """
    if settings.output is None:
        name = settings.file.name
        for ending in (".gz", ".zst"):
            name = name.removesuffix(ending)
        output = Path("runs") / "rerank" / f"{Path(name).stem}.ranked{source.suffix}"
        _check_maker(output, settings.file)
        return output
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


def _check_maker(output: Path, file: Path) -> None:
    """Refuse an output that another input made; the same content, moved or renamed, is the same input."""
    try:
        report = json.loads(output.with_name(f"{output.name}.report.json").read_bytes())
        other, content = Path(report["file"]), report["made_from"]["input"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing there, or not a run's
    if not output.exists() or other.resolve() == file.resolve() or file_digest(file) == content:
        return
    named = output.with_name(f"{file.resolve().parent.name}-{output.name}")
    raise UsageError(
        f"--output: {output} holds the ranked rows of {other}, not of {file}; name another place, as in "
        f"--output {named}"
    )
