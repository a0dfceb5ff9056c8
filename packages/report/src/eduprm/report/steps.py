"""A solution in scored steps as the explorer shows it: of a ranked file, or of a benchmark with a gold first error."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from .records import clip, number

MAX_STEPS = 400
"""Steps of one solution, at most."""


def solution_record(
    steps: Sequence[str],
    scores: Sequence[float],
    *,
    score: float | None = None,
    answer: str | None = None,
    right: bool | None = None,
    rules: Collection[str] = (),
    gold_wrong: Collection[int] | None = None,
    first_only: bool = False,
    predicted: int | None = None,
) -> dict[str, Any]:
    """One solution as plain values.

    Args:
        steps: texts.
        scores: one in [0, 1] for each step.
        score: the solution's.
        answer: its final answer, if one was found.
        right: whether that is right; None if it was not graded.
        rules: the rules that chose it.
        gold_wrong: steps (from 0) that are wrong by gold; None where there is no gold.
        first_only: gold speaks of the first wrong step only.
        predicted: the step (from 0) judged wrong first, -1 for none; None where nothing was judged.
    """
    record: dict[str, Any] = {
        "steps": [
            [*clip(text), number(value)] for text, value in zip(steps[:MAX_STEPS], scores, strict=False)
        ],
        "left_out": max(0, len(steps) - MAX_STEPS),
    }
    given = {
        "score": number(score, digits=4),
        "answer": None if answer is None else clip(answer, most=80)[0],
        "right": right,
        "rules": sorted(rules) or None,
        "wrong": None if gold_wrong is None else sorted(gold_wrong),
        "first": first_only or None,
        "predicted": predicted,
    }
    return {**record, **{key: value for key, value in given.items() if value is not None}}
