"""Problems whose own gold answer the grader does not grade as right: every label of theirs would be wrong.

The stage `label` leaves them out and lists them in rejected/label.jsonl.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from eduprm.core.command_line import UsageError, quoted
from eduprm.core.files import write_json_lines
from eduprm.core.progress import say
from eduprm.label import check_gold
from eduprm.pipeline.run_folder import RunFolder

__all__ = ["FILE", "check_some_gold", "gradable", "reject_gold"]

FILE = "rejected/label.jsonl"
"""Lines of problem_id, split, question, answer, reason."""


def reject_gold(folder: RunFolder, problems: pl.DataFrame, grader: Any, name: str) -> pl.DataFrame:
    """The problems that can be graded; the others are listed and said.

    A grader of one's own may want solutions of another form than the check writes ("#### ANSWER"), so what it does not
    take is said and nothing left out.

    Args:
        folder: of the run.
        problems: PROBLEM_SCHEMA.
        grader: what the labels are made with.
        name: as `--problem.grader` names it.

    Raises:
        UsageError: nothing is left to train on, or to hold out.
    """
    wrong = check_gold(problems, grader)
    if ":" in name:
        if wrong.height:
            say(
                f"label: {name} grades {wrong.height} of {problems.height} gold answers wrong as the check writes them "
                f"(#### ANSWER), the first is {_first(wrong)}; all problems stay, since it may want another form"
            )
        return problems
    left = _left(problems, wrong, name)
    _list(folder, problems, wrong, name)
    if wrong.height:
        say(
            f"label: {wrong.height} of {problems.height} problems are left out, since {name} does not take their gold "
            f"answers; the first is {_first(wrong)}, all are listed in {folder.path(FILE)}; {_remedy(name)}"
        )
    return left


def check_some_gold(problems: pl.DataFrame, grader: Any, name: str) -> None:
    """Refuse before the search what `reject_gold` would refuse after it.

    Raises:
        UsageError: as `reject_gold`.
    """
    if ":" not in name:
        _left(problems, check_gold(problems, grader), name)


def gradable(folder: RunFolder, problems: pl.DataFrame) -> pl.DataFrame:
    """The problems that the stage `label` did not leave out."""
    path = folder.path(FILE)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return problems.filter(~pl.col("problem_id").is_in([json.loads(line)["problem_id"] for line in lines]))


def _left(problems: pl.DataFrame, wrong: pl.DataFrame, name: str) -> pl.DataFrame:
    left = problems.filter(~pl.col("problem_id").is_in(wrong["problem_id"].to_list()))
    for split, what in (("train", "to train on"), ("test", "held out")):
        own = wrong.join(problems.filter(split=split), on="problem_id", how="semi", maintain_order="left")
        if own.height and not left.filter(split=split).height:
            raise UsageError(
                f"--problem.grader: {name} does not take the gold answer of any of the {own.height} problems {what}, "
                f"the first is {_first(own)}; {_remedy(name)}"
            )
    return left


def _remedy(name: str) -> str:
    other = "" if name == "math" else "choose another grader (--problem.grader math, with --rerun label), or "
    return f"{other}mend the answers"


def _first(wrong: pl.DataFrame) -> str:
    row = wrong.row(0, named=True)
    return f"{quoted(row['gold'])} of problem {row['problem_id']}"


def _list(folder: RunFolder, problems: pl.DataFrame, wrong: pl.DataFrame, name: str) -> None:
    target = folder.path(FILE)
    if not wrong.height:
        target.unlink(missing_ok=True)
        return
    rows = problems.join(wrong, on="problem_id", how="semi", maintain_order="left")
    listed = rows.select(
        "problem_id", "split", "question", "answer", reason=pl.lit(f"{name} does not take the gold answer")
    )
    write_json_lines(target, listed.iter_rows(named=True))
