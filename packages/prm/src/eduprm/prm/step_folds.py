"""Scores of a tree's steps from the values of its tokens, for steps that are made of one node or of several."""

from __future__ import annotations

import numpy as np

from eduprm.prm.calibrations._contract import ScoreCalibration
from eduprm.prm.scorers._contract import StepScoring
from eduprm.prm.tree import TokenTree

__all__ = ["step_scores"]


def step_scores(
    scorer: StepScoring,
    calibration: ScoreCalibration,
    tree: TokenTree,
    values: np.ndarray,
    begins: np.ndarray,
) -> np.ndarray:
    """Return per node the score of its step, from the step's beginning to the node's end, float64 [N].

    A step runs along a path from a node that begins one to the next that does; below a fork inside a step, each branch
    goes on with a step of its own that holds the tokens above the fork too. A node whose step has no token yet has the
    score of the step above; NaN where there is none.

    Args:
        scorer: folds the values of a step's tokens.
        calibration: of the scores.
        tree: as built.
        values: [T] or [T, k], the scorer's values of the tree's tokens.
        begins: bool [N], whether a step begins with the node; what stands on the prompt always begins one.
    """
    parents, starts = tree.parents.tolist(), tree.starts.tolist()
    spans: list[list[int]] = []  # per node, the tokens of its step so far
    above: list[int] = []  # per node, the node that its step follows; -1: the prompt
    for node, parent in enumerate(parents):
        own = list(range(starts[node], starts[node + 1]))
        goes_on = parent >= 0 and not begins[node]
        spans.append(spans[parent] + own if goes_on else own)
        above.append(above[parent] if goes_on else parent)
    # Per node, the place in `kept` of its step; the last entry is the prompt.
    whose = [-1] * (len(parents) + 1)
    kept: list[list[int]] = []
    before: list[int] = []
    for node, span in enumerate(spans):
        whose[node] = whose[above[node]]
        if span:
            before.append(whose[above[node]])
            whose[node] = len(kept)
            kept.append(span)
    if not kept:
        return np.full(len(parents), np.nan)
    tokens = np.concatenate([np.asarray(span, dtype=np.int64) for span in kept])
    nodes = np.repeat(np.arange(len(kept)), [len(span) for span in kept])
    folded = calibration(scorer.fold(values[tokens], nodes, parents=np.asarray(before, dtype=np.int64)))
    return np.append(folded, np.nan)[whose[:-1]]
