"""Scores of a PRM at the steps of labelled trees, as the column that the judge `scores` of a filter reads.

A step is the text from where one ends to where the next does (`step_ends`). Blank text alone is no step: it goes to the
step before it, or at a solution's beginning to the one behind it. Steps are scored in their solutions, those of one
question side by side, so that what they share is computed once; a node on several paths has one score.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import polars as pl

from eduprm.core.command_line import UsageError
from eduprm.forest import topology
from eduprm.forest.paths import path_rows
from eduprm.label.judges.scores import COLUMN
from eduprm.pipeline.label_steps import step_ends
from eduprm.pipeline.settings import TrainSettings
from eduprm.prm.solutions import StepScorer, StepScores
from eduprm.prm.source import PrmPlace, PrmReading

__all__ = ["Judged", "find_judge", "open_judge", "score_nodes"]

_WAIT_S = 60.0
_FLAG = re.compile(r"--(?:prm(?:-url)?\b|(?=judge\b))")


class Judged(NamedTuple):
    """The trees with `judge_score`, how many solutions have none, of how many, and the first one's reason."""

    trees: pl.DataFrame
    unscored: int
    solutions: int
    reason: str | None


def find_judge(settings: TrainSettings) -> PrmPlace | None:
    """The PRM that judges training solutions, not yet loaded; None if no filter asks for one.

    Raises:
        UsageError: there is none of that name, or nobody answers at its URL.
    """
    from eduprm.serve.judge.source import named_place  # aiohttp comes with it
    from eduprm.serve.source import ServedSource

    label = settings.label
    if label.judge_prm is None:
        return None
    reading = PrmReading(device=settings.policy.device, dtype=label.judge_dtype)
    try:
        if label.judge_prm.startswith(("http://", "https://")):
            return ServedSource(label.judge_prm, wait_s=_WAIT_S)
        return named_place(label.judge_prm, reading, label.judge)
    except UsageError as error:
        raise _here(error) from None


def open_judge(settings: TrainSettings) -> StepScorer | None:
    """Load it.

    Raises:
        UsageError: as `find_judge`, or it cannot be loaded.
    """
    place = find_judge(settings)
    try:
        return None if place is None else place.open()
    except UsageError as error:
        raise _here(error) from None


def score_nodes(labelled: pl.DataFrame, problems: pl.DataFrame, scorer: StepScorer) -> Judged:
    """Score all solutions of labelled trees.

    Args:
        labelled: of the stage `label`. Solutions whose end weighs nothing are no training data, and are not scored.
        problems: problem_id and question.
        scorer: the judge.

    Raises:
        UsageError: nothing can be scored any more.
    """
    questions = dict(problems.select("problem_id", "question").iter_rows())
    found: list[float | None] = [None] * labelled.height
    unscored, reason, count = 0, None, 0
    for trees in labelled.with_row_index("row").partition_by("problem_id", maintain_order=True):
        question = questions[trees["problem_id"][0]]
        solutions = list(_solutions(trees))
        for one, result in zip(solutions, _scored(question, solutions, scorer), strict=True):
            count += 1
            if result.scores is None:
                unscored, reason = unscored + 1, reason or result.rejected
                continue
            for rows, score in zip(one.rows, result.scores, strict=True):
                for row in rows:
                    found[row] = score if found[row] is None else found[row]
    column = pl.Series(COLUMN, found, dtype=pl.Float64)
    return Judged(labelled.with_columns(column), unscored, count, reason)


class _Solution(NamedTuple):
    steps: list[str]
    rows: list[list[int]]  # of each step, the nodes at whose end it, or blanks behind it, end
    ended: bool


def _solutions(trees: pl.DataFrame) -> Iterator[_Solution]:
    """Those that carry labels, in the order of their leaves."""
    shape = topology(trees)
    texts, own = trees["text"].to_list(), trees["row"].to_list()
    ends, finish = step_ends(trees).to_list(), trees["finish"].to_list()
    leaves = (shape.is_leaf & (trees["weight"] > 0).to_numpy()).nonzero()[0]
    flat, lengths = path_rows(shape, leaves)
    rest = iter(flat.tolist())
    for leaf, length in zip(leaves.tolist(), lengths.tolist(), strict=True):
        steps: list[str] = []
        rows: list[list[int]] = []
        text = ""
        for node in itertools.islice(rest, length):
            text += texts[node]
            if not ends[node]:
                continue
            if text.strip():
                steps.append(text)
                rows.append([own[node]])
                text = ""
            elif steps:
                steps[-1] += text
                rows[-1].append(own[node])
                text = ""
        yield _Solution(steps, rows, finish[leaf] == "stop")


def _scored(question: str, solutions: Sequence[_Solution], scorer: StepScorer) -> list[StepScores]:
    """A result for each; the end of a solution that was cut off is not the end of one."""
    results: list[StepScores] = [StepScores(None, rejected="it has no text")] * len(solutions)
    for ended in (True, False):
        places = [at for at, one in enumerate(solutions) if one.ended == ended and one.steps]
        if not places:
            continue
        asked = [(question, solutions[at].steps) for at in places]
        try:
            scores = scorer.score_steps(asked, complete=ended, as_cut=True)
        except UsageError as error:
            raise _here(error) from None
        for at, result in zip(places, scores, strict=True):
            results[at] = result
    return results


def _here(error: UsageError) -> UsageError:
    """The same line with the flags as they are called in apps/train."""

    def renamed(flag: re.Match[str]) -> Any:
        return "--label." if flag[0] == "--" else "--label.judge-prm"

    return UsageError(_FLAG.sub(renamed, str(error)))
