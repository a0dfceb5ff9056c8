"""A word on the threshold where trees hardly fork: how often the policy was unsure, and what threshold would suit it.

The paper's 1.0 nats and the default job's 0.1 each fit one policy. Who brings another sees here what a
greedy solution of it has above the threshold.
"""

from __future__ import annotations

import polars as pl

from eduprm.entropy.calibrate import calibrate_threshold
from eduprm.search import EduSampling, Tokenizer
from eduprm.search.greedy import greedy_entropies

FEW_LEAVES = 2.0
"""Fewer leaves a tree than this, on average, and most trees have nothing to compare."""
WANTED_ANCHORS = 4.0
"""Anchors of a greedy solution that the proposed threshold gives: enough to fork at for eight leaves and more."""


def threshold_advice(trees: pl.DataFrame, search: EduSampling, *, tokenizer: Tokenizer) -> str | None:
    """One line to print, or None where trees fork enough or may not fork at all.

    Args:
        trees: of some training problems, NODE_SCHEMA and FOUND_COLUMNS.
        search: how they were grown.
        tokenizer: the policy's tokenizer.
    """
    if search.budget.max_leaves < FEW_LEAVES or not trees.height:
        return None
    leaves = trees["finish"].is_not_null().sum() / trees.select("problem_id", "tree").n_unique()
    if leaves >= FEW_LEAVES:
        return None
    greedy = greedy_entropies(trees, tokenizer=tokenizer)
    if not greedy.entropies:  # trees of a strategy that does not decode greedily
        return None
    try:
        fit = calibrate_threshold(greedy.entropies, anchors_per_solution=WANTED_ANCHORS, skip=greedy.skip)
    except ValueError:  # shorter solutions than that, or none unsure anywhere
        return f"search: {leaves:.1f} leaves a tree: the policy is hardly ever unsure; EDU sampling finds little here"
    above = sum(
        value > search.threshold and not symbol
        for values, symbols in zip(greedy.entropies, greedy.skip, strict=True)
        for value, symbol in zip(values, symbols, strict=True)
    ) / len(greedy.entropies)
    return (
        f"search: {leaves:.1f} leaves a tree: a greedy solution is unsure {above:.1f} times at --search.threshold "
        f"{search.threshold:g}; {fit.threshold_nats:.3g} would make it {fit.achieved_anchors:.1f}"
    )
