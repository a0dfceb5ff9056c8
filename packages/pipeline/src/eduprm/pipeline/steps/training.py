"""The problems a PRM was trained on, from a run folder of apps/train or a file, to look for overlap."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from eduprm.core.command_line import UsageError
from eduprm.forest import ForestError
from eduprm.problems import read_problems


class Training(NamedTuple):
    """Where the problems stand, and their texts."""

    place: Path
    problems: list[str]


def training_problems(given: Path | None, prm: Path | None) -> Training | None:
    """Training problems of a file or a run folder; without one given, of the run folder that holds the PRM.

    Rows of split "test" are left out. None: nothing was given and nothing lies beside the PRM, or it has no folder (a
    judge).

    Raises:
        UsageError: what was given is not there or cannot be read.
    """
    if given is not None:
        place = given
    elif prm is not None:
        place = prm.resolve().parent / "problems.parquet"
    else:
        return None
    if place.is_dir():
        place = place / "problems.parquet"
    if given is None and not place.is_file():
        return None
    try:
        problems = read_problems(place).problems
    except (ForestError, ValueError) as error:
        raise UsageError(f"--train-problems: {error}") from None
    texts = problems.filter(split="train")["question"].to_list()
    if not texts:
        raise UsageError(f"--train-problems: {place} holds no usable training problem")
    return Training(
        place if prm is None or given is not None else Path(prm.parent, "problems.parquet"), texts
    )
