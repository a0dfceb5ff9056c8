"""Scoring trees of the same problems merged (`score_trees`) against tree by tree, on the held-out trees of a run.

Both in one process on the same model, in turn, a few problems a round; the ratio of interest is seconds apart / seconds
merged, beside the ratio of tokens.

    python packages/prm/benchmarks/bench_merged.py runs/default --problems 4 --rounds 5
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from eduprm.prm import ProcessRewardModel
from eduprm.prm.data import forest_trees
from eduprm.prm.merging import merge_trees
from eduprm.prm.tree import TokenTree


def groups(trees: Sequence[TokenTree]) -> list[list[TokenTree]]:
    """Trees by prompt."""
    found: dict[bytes, list[TokenTree]] = {}
    for tree in trees:
        found.setdefault(tree.token_ids[: tree.num_prompt_tokens].tobytes(), []).append(tree)
    return list(found.values())


def main(arguments: Sequence[str]) -> None:
    """Print tokens, seconds and their ratios, and the largest difference of a token's value."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--problems", type=int, default=4, help="problems a round")
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args(arguments)
    problems = pl.read_parquet(settings.run / "problems.parquet")
    labelled = pl.read_parquet(settings.run / "labels" / "test-*.parquet")
    prm = ProcessRewardModel.from_pretrained(settings.run / "prm")
    by_problem = groups(list(forest_trees(labelled, problems, prm.builder)))
    ratios, spared, difference = [], [], 0.0
    for number in range(settings.rounds):
        chosen = by_problem[number * settings.problems :][: settings.problems]
        # Numbered as `score_trees` numbers what it merged.
        trees = [
            dataclasses.replace(tree, rows=np.arange(len(tree.parents))) for group in chosen for tree in group
        ]
        if not trees:
            break
        began = time.perf_counter()
        apart = prm._token_values(trees)
        middle = time.perf_counter()
        prm.score_trees(trees)
        ended = time.perf_counter()
        merged = [merge_trees(group) for group in chosen]
        values = prm._token_values([one.tree for one in merged])
        flat = [value[place] for one, value in zip(merged, values, strict=True) for place in one.places]
        difference = max(
            [difference, *(float(np.nanmax(abs(a - b))) for a, b in zip(apart, flat, strict=True))]
        )
        before, after = sum(t.num_tokens for t in trees), sum(one.tree.num_tokens for one in merged)
        ratios.append((middle - began) / (ended - middle))
        spared.append(before / after)
        print(
            f"{before} tokens in {middle - began:.2f} s, merged {after} in {ended - middle:.2f} s: "
            f"{ratios[-1]:.2f}x in time, {spared[-1]:.2f}x in tokens"
        )
    print(
        f"median {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}), tokens "
        f"{statistics.median(spared):.2f}x; largest difference of a token's value {difference:.1e}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
