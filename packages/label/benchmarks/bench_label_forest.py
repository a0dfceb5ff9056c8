"""Seconds to label a forest of 5 million nodes, beside a plain-Python loop over a part of it.

Run: python packages/label/benchmarks/bench_label_forest.py [--nodes 5000000] [--baseline-nodes 100000] [--repeats 3]

The forest: EDU-like trees of 8 leaves and 15 to 40 nodes (every fork has two children, pieces between forks are cut
further), and one node in fifty in chains 2,000 deep. Three to seven tokens a node. The baseline walks each tree's nodes
with dicts, as one would write it first; its values must equal ours. The ratio is per node, in one process.
"""

import argparse
import json
import math
import resource
import statistics
import time

import numpy as np
import polars as pl

from eduprm.forest import topology
from eduprm.label import label_forest

CHAIN_DEPTH = 2000
NUM_TEMPLATES = 400


def edu_tree(rng: np.random.Generator) -> list[int]:
    """Parents of one tree in preorder: 8 leaves, forks of two, single children strewn in, 15 to 40 nodes."""
    parents: list[int] = []

    def grow(parent: int, leaves: int) -> None:
        for _ in range(1 + int(rng.random() < 0.35)):
            parents.append(parent)
            parent = len(parents) - 1
        if leaves > 1:
            left = int(rng.integers(1, leaves))
            grow(parent, left)
            grow(parent, leaves - left)

    grow(-1, 8)
    return parents


def make_forest(num_nodes: int, *, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    templates = [np.array(edu_tree(rng), dtype=np.int32) for _ in range(NUM_TEMPLATES)]
    chain = np.arange(-1, CHAIN_DEPTH - 1, dtype=np.int32)
    trees: list[np.ndarray] = []
    filled = 0
    while filled < num_nodes:
        is_chain = rng.random() < 0.02 * 27 / CHAIN_DEPTH
        trees.append(chain if is_chain else templates[int(rng.integers(NUM_TEMPLATES))])
        filled += len(trees[-1])
    sizes = np.array([len(tree) for tree in trees])
    total = int(sizes.sum())
    number = np.repeat(np.arange(len(trees)), sizes)
    node_id = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    parent = np.concatenate(trees)
    tokens = rng.integers(3, 8, total)
    flat = pl.DataFrame(
        {
            "row": np.repeat(np.arange(total), tokens),
            "token_ids": rng.integers(0, 50_000, int(tokens.sum()), dtype=np.int32),
            "logprobs": -rng.exponential(0.3, int(tokens.sum())).astype(np.float32),
        }
    )
    lists = flat.group_by("row", maintain_order=True).agg("token_ids", "logprobs")
    frame = pl.DataFrame(
        {"tree_number": number, "node_id": pl.Series(node_id).cast(pl.Int32), "parent_id": parent}
    )
    return frame.select(
        problem_id=pl.format("problem-{}", pl.col("tree_number") // 2),
        tree=pl.when(pl.col("tree_number") % 2 == 0).then(pl.lit("edu")).otherwise(pl.lit("ht")),
        node_id="node_id",
        parent_id=pl.when(pl.col("parent_id") >= 0).then("parent_id"),
    ).with_columns(lists["token_ids"], lists["logprobs"])


def grades_of(forest: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    leaves = forest.filter(pl.Series(topology(forest).is_leaf)).select("problem_id", "tree", "node_id")
    right = np.random.default_rng(seed).random(leaves.height) < 0.4
    return leaves.with_columns(correct=pl.Series(right))


def plain_python(forest: pl.DataFrame, grades: pl.DataFrame, *, weighting: str) -> list[float]:
    """Values by loops and dicts, children before parents."""
    right = {(p, t, n): c for p, t, n, c in grades.iter_rows()}
    rows = list(forest.select("problem_id", "tree", "node_id", "parent_id", "logprobs").iter_rows())
    values = [0.0] * len(rows)
    sums: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for i in range(len(rows) - 1, -1, -1):
        problem, tree, node, parent, logprobs = rows[i]
        below = sums.pop((problem, tree, node), None)
        if below is None:
            value, mass = float(right[problem, tree, node]), 0.0 if weighting == "probability" else 1.0
        elif weighting == "probability":
            best = max(m for m, _ in below)
            total = sum(math.exp(m - best) for m, _ in below)
            value = sum(math.exp(m - best) * v for m, v in below) / total
            mass = best + math.log(total)
        else:
            mass = sum(m for m, _ in below)
            value = sum(m * v for m, v in below) / mass
        values[i] = value
        if parent is not None:
            up = mass + sum(logprobs) if weighting == "probability" else mass
            sums.setdefault((problem, tree, parent), []).append((up, value))
    return values


def timed(function, *args, repeats: int, **options) -> tuple[list[float], object]:
    seconds, result = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        result = function(*args, **options)
        seconds.append(time.perf_counter() - start)
    return seconds, result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=5_000_000)
    parser.add_argument("--baseline-nodes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    forest = make_forest(options.nodes, seed=1)
    grades = grades_of(forest, seed=2)
    part = make_forest(options.baseline_nodes, seed=3)
    part_grades = grades_of(part, seed=4)
    shuffled = grades.sample(fraction=1.0, shuffle=True, seed=5)
    report = {"nodes": forest.height, "leaves": grades.height, "trees": topology(forest).num_trees}
    for weighting in ("uniform", "probability"):
        seconds, _ = timed(label_forest, forest, grades, repeats=options.repeats, rule=weighting)
        loop, values = timed(plain_python, part, part_grades, repeats=options.repeats, weighting=weighting)
        ours = label_forest(part, part_grades, rule=weighting)["value"].to_numpy()
        np.testing.assert_allclose(ours, values, atol=1e-6)
        ratio = (statistics.median(loop) / part.height) / (statistics.median(seconds) / forest.height)
        report[weighting] = {
            "seconds": [round(s, 2) for s in seconds],
            "python_us_per_node": round(1e6 * statistics.median(loop) / part.height, 2),
            "ratio": round(ratio, 1),
        }
    seconds, _ = timed(label_forest, forest, shuffled, repeats=1)
    report["uniform, grades in any order"] = {"seconds": [round(s, 2) for s in seconds]}
    report["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
