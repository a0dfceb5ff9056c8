"""Scores of steps that are made of several nodes, against each path alone."""

from __future__ import annotations

import numpy as np
import pytest

from eduprm.prm.config import Scoring
from eduprm.prm.scorers.likelihood import Scorer
from eduprm.prm.step_folds import step_scores
from eduprm.prm.testing import ragged_tree
from eduprm.prm.tree import build_tree


def same(scores: np.ndarray) -> np.ndarray:
    return scores


def test_by_hand() -> None:
    """A step of two nodes that goes on behind a fork on one branch, and ends before it on the other."""
    # 0: two tokens; below it 1 goes on (2 below it has no token) and 3 begins a step.
    tree = build_tree([7], [[1, 2], [3], [], [4]], [-1, 0, 1, 0])
    values = np.log([np.nan, 0.5, 0.8, 0.25, 0.9])
    begins = np.array([True, False, False, True])
    found = step_scores(Scorer(Scoring(kind="likelihood", fold="min")), same, tree, values, begins)
    assert found == pytest.approx([0.5, 0.25, 0.25, 0.9])
    found = step_scores(Scorer(Scoring(kind="likelihood", fold="sum")), same, tree, values, begins)
    assert found == pytest.approx([0.4, 0.1, 0.1, 0.9])


def test_a_root_without_tokens_has_no_score_and_hands_none_on() -> None:
    tree = build_tree([7], [[], [3], [4]], [-1, 0, 0])
    values = np.log([np.nan, 0.25, 0.9])
    scorer = Scorer(Scoring(kind="likelihood"))
    found = step_scores(scorer, same, tree, values, np.array([False, False, True]))
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([0.25, 0.9])


@pytest.mark.parametrize("fold", ["min", "mean", "sum"])
@pytest.mark.parametrize("seed", range(6))
def test_a_step_is_folded_as_its_tokens_along_the_path(seed: int, fold: str) -> None:
    tree = ragged_tree(seed, num_nodes=11)
    rng = np.random.default_rng(seed)
    values, begins = np.log(rng.uniform(0.1, 1, tree.num_tokens)), rng.random(len(tree.parents)) < 0.5
    found = step_scores(Scorer(Scoring(kind="likelihood", fold=fold)), same, tree, values, begins)
    plain = {"min": np.min, "mean": np.mean, "sum": np.sum}[fold]
    for node in range(len(tree.parents)):
        tokens: list[int] = []
        at = node
        while at >= 0:
            tokens = [*range(tree.starts[at], tree.starts[at + 1]), *tokens]
            if begins[at]:
                break
            at = int(tree.parents[at])
        if tokens:
            assert found[node] == pytest.approx(np.exp(plain(values[tokens])))


def test_the_calibration_is_of_the_steps_scores() -> None:
    tree = build_tree([7], [[1], [2]], [-1, 0])
    scorer = Scorer(Scoring(kind="likelihood"))
    found = step_scores(
        scorer, lambda scores: scores / 2, tree, np.log([np.nan, 0.5, 0.25]), np.array([True, False])
    )
    assert found == pytest.approx([0.25, 0.125])
