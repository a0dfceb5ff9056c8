"""Worked answers of files: those that are taught, those that are left over for trees, and what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from eduprm.core.errors import UsageError
from eduprm.core.files import write_json_lines
from eduprm.forest import ForestError
from eduprm.problems import ProblemColumns, read_worked
from eduprm.problems.files import Problems
from eduprm.teach.hashing import unit
from eduprm.teach.settings import MixPart


class Worked(NamedTuple):
    """What a file holds, three frames.

    `taught` and `rest`, what the share leaves out, have `eduprm.problems.files.WORKED_SCHEMA`; `rejected` has row and
    reason.
    """

    taught: pl.DataFrame
    rest: pl.DataFrame
    rejected: pl.DataFrame


def read_usable(path: Path, columns: ProblemColumns, *, flag: str, need_working: bool) -> Problems:
    """`read_worked`, of which something can be used.

    Raises:
        UsageError: the file cannot be read, or none of its rows can be used.
    """
    try:
        read = read_worked(path, columns=columns, need_working=need_working)
    except (ForestError, ValueError) as error:
        raise UsageError(f"{flag}: {error}") from None
    if not read.problems.height:
        why = f": {read.rejected['reason'][0]}" if read.rejected.height else ", it is empty"
        raise UsageError(f"{flag}: {path}: expected questions with gold answers, got none{why}")
    return read


def read_part(part: MixPart) -> Worked | None:
    """The worked answers of a part of the mix; None for a task.

    A question is taught if its hash falls into the share, whatever the seed and the file's order. Of those, `count`
    takes the first by that hash.

    Raises:
        UsageError: as `read_usable`, or the share of the file holds no question, or fewer than `count`.
    """
    if part.file is None:
        return None
    read = read_usable(part.file, part.columns, flag="--mix", need_working=True)
    drawn = read.problems.with_columns(
        pl.Series("drawn", [unit("share", question) for question in read.problems["question"]])
    ).sort("drawn")
    taught, rest = (
        drawn.filter((pl.col("drawn") < part.share) == kept).drop("drawn") for kept in (True, False)
    )
    if taught.height < (part.count or 1):
        raise UsageError(
            f"--mix: {part.file}: expected {part.count or 1} questions or more in a share of {part.share}, got "
            f"{taught.height} of {drawn.height}"
        )
    return Worked(taught[: part.count], rest, read.rejected)


def write_leftovers(run: Path, parts: Sequence[Worked | None]) -> None:
    """Write rest.jsonl and rejected/mix.jsonl, where there is something to write, and say so."""
    files = [part for part in parts if part is not None]
    rejected = [row for part in files for row in part.rejected.iter_rows(named=True)]
    if rejected:
        target = write_json_lines(run / "rejected" / "mix.jsonl", rejected)
        print(f"mix: {len(rejected)} rows cannot be taught, listed in {target}", flush=True)
    if rest := list(_rest(files)):
        target = write_json_lines(run / "rest.jsonl", rest)
        print(
            f"mix: {len(rest)} problems are not taught: {target}, for trees by apps/train --problems {target}",
            flush=True,
        )


def _rest(files: Sequence[Worked]) -> Iterator[dict[str, Any]]:
    """Problems that no part teaches, each question and each id once: files may number their rows alike."""
    questions = {question for part in files for question in part.taught["question"]}
    ids: set[str] = set()
    for part in files:
        for row in part.rest.iter_rows(named=True):
            if row["question"] in questions:
                continue
            questions.add(row["question"])
            kept = {"question": row["question"], "answer": row["worked"]}
            if row["problem_id"] not in ids:
                kept["problem_id"] = row["problem_id"]
                ids.add(row["problem_id"])
            yield kept
