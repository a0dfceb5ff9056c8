"""What a tree of 8 leaves costs the client in CPU: growing it on an engine that answers at once, and building its
rows.

Rows are built two ways, turn about, from the same branches: *by row*, as it was done before (a dictionary a node,
texts by decoding, a frame a tree, frames joined), and *by column* (flat arrays a tree, texts from the table of the
vocabulary, one frame a shard). Both must give equal frames. CPU seconds of the process, polars on one thread;
ratios are of neighbours.

    POLARS_MAX_THREADS=1 uv run packages/search/benchmarks/tree_rows.py --trees 256 --rounds 7
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from eduprm.forest import NODE_SCHEMA
from eduprm.problems import make_split
from eduprm.search import Branch, Budget, Completion, EduSampling, PolicyTokenizer, Request
from eduprm.search.branches import _pieces, tree_rows
from eduprm.search.cost import Meter
from eduprm.search.node_texts import node_texts
from eduprm.search.tree_rows import frame_of

STOP = 2
EDU = EduSampling(threshold=0.1, budget=Budget(max_leaves=8, max_tokens_per_path=128))


class AtOnce:
    """An engine whose paths are pieces of texts, a share of their positions anchors; it answers without waiting."""

    stop_ids = frozenset({STOP})
    context_length = 4096

    def __init__(self, texts: list[list[int]], *, anchors: float) -> None:
        self._texts = [np.array(text, np.int32) for text in texts]
        self._anchors = anchors

    async def generate(self, request: Request) -> Completion:
        rng = np.random.default_rng([len(request.prefix_ids), *request.prefix_ids[-3:]])
        text = self._texts[int(rng.integers(len(self._texts)))]
        size = min(len(text) - int(rng.integers(len(text) - 4)), request.max_new_tokens)
        ids = text[-size:].copy()
        ids[-1] = STOP
        high = rng.random(size) < self._anchors
        return Completion(
            token_ids=ids,
            logprobs=-rng.random(size, np.float32),
            entropies=np.where(high, rng.uniform(0.2, 1.5, size), 0.05).astype(np.float32),
            runner_up_ids=np.roll(text, 3)[-size:],
            runner_up_logprobs=-2 - rng.random(size, np.float32),
            finish="stop",
            prefix_tokens=len(request.prefix_ids),
            cached_tokens=len(request.prefix_ids) - 1,
        )


class Decoding:
    """The tokenizer without its table."""

    def __init__(self, tokenizer: PolicyTokenizer) -> None:
        self.decode = tokenizer.decode


def by_row(grown: list[list[Branch]], tokenizer: Any) -> pl.DataFrame:
    frames = []
    for number, branches in enumerate(grown):
        rows: list[dict[str, Any]] = []
        for parent, branch, start, stop in _pieces(branches, EDU.cut, tokenizer, AtOnce.stop_ids):
            own = slice(0) if branch is None else slice(start - branch.start, stop - branch.start)
            columns = ("token_ids", "logprobs", "entropies")
            rows.append(
                {"problem_id": f"p{number}", "tree": "edu", "node_id": len(rows), "parent_id": parent}
                | {name: [] if branch is None else getattr(branch, name)[own].tolist() for name in columns}
                | {"text": "", "finish": branch.finish if branch and stop == branch.stop else None}
            )
        parents = [-1 if row["parent_id"] is None else row["parent_id"] for row in rows]
        ends = [row["finish"] is not None for row in rows]
        texts = node_texts(parents, [row["token_ids"] for row in rows], ends, tokenizer)
        for row, text in zip(rows, texts, strict=True):
            row["text"] = text
        frames.append(pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row"))
    return pl.concat(frames)


def by_column(grown: list[list[Branch]], tokenizer: PolicyTokenizer) -> pl.DataFrame:
    given = {"tree": "edu", "cut": EDU.cut, "tokenizer": tokenizer, "stop_ids": AtOnce.stop_ids}
    return frame_of([tree_rows(own, problem_id=f"p{number}", **given) for number, own in enumerate(grown)])


def grow(prompts: list[tuple[int, ...]], engine: AtOnce, tokenizer: PolicyTokenizer) -> list[list[Branch]]:
    grown: list[list[Branch]] = []

    async def go() -> None:
        for number, prompt in enumerate(prompts):
            grown.append(
                await EDU.grow(prompt, problem_id=f"p{number}", engine=Meter(engine), tokenizer=tokenizer)
            )

    asyncio.run(go())
    return grown


def timed(do: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = do()
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trees", type=int, default=256)
    parser.add_argument("--anchors", type=float, default=0.08, help="share of positions above the threshold")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    tokenizer = PolicyTokenizer("smollm2-135m-instruct")
    questions = make_split("long_sum", train=options.trees, test=1, seed=0)["question"].to_list()
    texts = [tokenizer.encode(f"{question}\nFirst, add: 12 + 7 = 19.\n" * 2) for question in questions]
    prompts = [tuple(tokenizer.encode(question)) for question in questions[: options.trees]]
    engine, plain = AtOnce(texts, anchors=options.anchors), Decoding(tokenizer)
    took, _ = timed(lambda: tokenizer.table)
    print(f"table of the vocabulary: {took:.2f} s once")
    growing, old, new = [], [], []
    for turn in range(options.rounds + 1):
        seconds, grown = timed(lambda: grow(prompts, engine, tokenizer))
        # By column first: as in a search, it finds the anchors that growing has noted.
        second, columns = timed(lambda grown=grown: by_column(grown, tokenizer))
        first, rows = timed(lambda grown=grown: by_row(grown, plain))
        if not turn:
            assert rows.equals(columns)
            continue
        for kept, value in ((growing, seconds), (old, first), (new, second)):
            kept.append(1e3 * value / options.trees)
    leaves = sum(len(own) for own in grown) / len(grown)
    print(
        f"{options.trees} trees of {leaves:.1f} leaves, {len(columns) / len(grown):.1f} nodes; ms of CPU a tree:"
    )
    for name, values in (("growing", growing), ("rows by row", old), ("rows by column", new)):
        print(f"  {name:15} {statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})")
    ratios = [a / b for a, b in zip(old, new, strict=True)]
    print(f"by row / by column: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
