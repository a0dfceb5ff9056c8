"""How long the forest's checks, shapes and counts take: ``python packages/forest/benchmarks/bench_forest.py 5e6``.

Random trees of 200 nodes with 5 tokens each; prints the median and the range of five runs per call, in seconds.
"""

import statistics
import sys
import time

import numpy as np
import polars as pl

from eduprm.forest import NODE_SCHEMA, leaf_paths, token_counts, topology, validate_forest

NODES_PER_TREE, TOKENS_PER_NODE, SHAPES = 200, 5, 50


def random_parents(rng: np.random.Generator) -> list[int]:
    """Parents in preorder, -1 for the root."""
    parents, open_nodes = [-1], [0]
    for node in range(1, NODES_PER_TREE):
        while len(open_nodes) > 1 and rng.random() < 0.4:
            open_nodes.pop()
        parents.append(open_nodes[-1])
        open_nodes.append(node)
    return parents


def random_forest(num_nodes: int) -> pl.DataFrame:
    """A valid forest of about that many nodes."""
    rng = np.random.default_rng(0)
    num_trees = num_nodes // NODES_PER_TREE
    shapes = np.array([random_parents(rng) for _ in range(SHAPES)])
    parents = shapes[np.arange(num_trees) % SHAPES].ravel()
    first = np.repeat(np.arange(num_trees) * NODES_PER_TREE, NODES_PER_TREE)
    inner = np.zeros(len(parents), dtype=bool)
    inner[(first + parents)[parents >= 0]] = True
    floats = rng.random((len(parents), TOKENS_PER_NODE), dtype=np.float32)
    ids = rng.integers(0, 49_000, floats.shape).astype(np.int32)
    names = pl.Series([f"problem-number-{number:07d}" for number in range(num_trees)])
    return (
        pl.DataFrame({"problem_id": names[np.repeat(np.arange(num_trees), NODES_PER_TREE)]})
        .with_columns(
            tree=pl.lit("edu"),
            node_id=pl.Series(np.arange(len(parents)) - first, dtype=pl.Int32),
            parent_id=pl.Series(parents, dtype=pl.Int32).replace(-1, None),
            token_ids=pl.Series(ids).arr.to_list(),
            logprobs=pl.Series(-floats).arr.to_list(),
            entropies=pl.Series(floats).arr.to_list(),
            text=pl.lit(" some text"),
            finish=pl.when(pl.Series(inner)).then(None).otherwise(pl.lit("stop")),
        )
        .select(NODE_SCHEMA.names())
    )


def main() -> None:
    df = random_forest(int(float(sys.argv[1]) if len(sys.argv) > 1 else 1e6))
    print(f"{df.height:,} nodes, deepest at {topology(df).depth.max()}, polars {pl.__version__}")
    for call in (topology, validate_forest, token_counts, leaf_paths):
        if call is leaf_paths and df.height > 1_000_000:
            continue  # its output is many times the forest: every shared prefix once per leaf
        times = []
        for _ in range(5):
            began = time.perf_counter()
            call(df)
            times.append(time.perf_counter() - began)
        print(f"{call.__name__}: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()
