"""Wall-clock of EDU trees of 8 leaves against n=8 independent samples, through one SGLang engine.

Both grow the same problems in one process on the same engine, turn about, with as many rows on their way at once, and
start from an empty radix cache. A tree's forks are taken in rounds (`--parallel-forks`), so that few trees fill the
batch too. Printed: seconds, tokens decoded, tokens a second, and the ratio of seconds per leaf with its spread. On a
machine without CUDA, SGLang runs on the CPU in float32 through eduprm-sglang's platform.

    uv run --extra sglang packages/search/benchmarks/sglang_trees.py --problems 12 --rows 16 --rounds 3
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import polars as pl

from eduprm.forest import leaf_paths, token_counts
from eduprm.search import Budget, EduSampling, HighTemperature, PolicyTokenizer, Strategy, grow_forest


def engine_of(model: str, *, rows: int) -> Any:
    import torch

    options: dict[str, Any] = {}
    if not torch.cuda.is_available():
        os.environ["SGLANG_PLATFORM"] = "eduprm_cpu"
        from eduprm.sglang.cpu_server import CPU_ENGINE_ARGS

        options = dict(CPU_ENGINE_ARGS)
    from eduprm.search.sglang import SglangEngine

    return SglangEngine(model, max_requests=rows, **options)


def problems(tokenizer: PolicyTokenizer, count: int) -> pl.DataFrame:
    example = "".join(
        f"Q: What is {a} * {b} * {c}?\n{a} * {b} = {a * b}\n{a * b} * {c} = {a * b * c}\n#### {a * b * c}\n\n"
        for a, b, c in ((3, 4, 5), (7, 2, 6), (9, 8, 3), (5, 5, 4))
    )
    prompts = [
        tokenizer.encode(f"{example}Q: What is {n % 8 + 2} * {n // 8 + 3} * {n % 5 + 4}?\n")
        for n in range(count)
    ]
    return pl.DataFrame({"problem_id": [f"p{n}" for n in range(count)], "prompt_token_ids": prompts})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", type=int, default=12)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--parallel-forks", type=int, default=4)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    tokenizer = PolicyTokenizer(options.model)
    asked = problems(tokenizer, options.problems)
    budget = Budget(max_leaves=8, max_tokens_per_path=options.tokens)
    arms: dict[str, Strategy] = {
        "trees": EduSampling(
            threshold=options.threshold, parallel_forks=options.parallel_forks, budget=budget
        ),
        "samples": HighTemperature(temperature=0.7, num_samples=8, max_tokens_per_path=options.tokens),
    }
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    with engine_of(options.model, rows=options.rows) as engine:
        for turn in range(options.rounds + 1):
            for name, strategy in arms.items():
                # The first round warms up.
                rows[name].append(measured(engine, tokenizer, asked if turn else asked.head(2), strategy))
                if turn:
                    took = rows[name][-1]
                    print(
                        f"round {turn}: {name} {took['seconds']:.1f} s, {took['decoded']:.0f} tokens",
                        flush=True,
                    )
    for name, turns in rows.items():
        kept = turns[1:]
        middle = {key: statistics.median(turn[key] for turn in kept) for key in kept[0]}
        print(
            f"{name:8} median of {len(kept)}: {middle['seconds']:.1f} s, {middle['leaves']:.0f} leaves, "
            f"{middle['decoded']:.0f} tokens decoded ({middle['decoded'] / middle['seconds']:.0f} tokens/s), "
            f"{middle['decoded'] / middle['leaves']:.1f} tokens and {middle['seconds'] / middle['leaves']:.3f} s a "
            f"leaf; "
            f"prefix tokens {middle['prefix']:.0f}, held {middle['held'] / middle['prefix']:.1%}, computed again "
            f"{middle['again'] / middle['prefix']:.2%}"
        )
    for key, what in (("seconds", "seconds"), ("decoded", "tokens decoded")):
        ratios = [
            (b[key] / b["leaves"]) / (a[key] / a["leaves"])
            for a, b in zip(rows["trees"][1:], rows["samples"][1:], strict=True)
        ]
        print(
            f"samples / trees, {what} a leaf: {statistics.median(ratios):.2f}x "
            f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(ratios)} rounds)"
        )


def measured(
    engine: Any, tokenizer: PolicyTokenizer, asked: pl.DataFrame, strategy: Strategy
) -> dict[str, float]:
    engine.reset()
    before, start = engine.num_decoded, time.perf_counter()
    growth = grow_forest(
        asked, strategies=[strategy], engine=engine, tokenizer=tokenizer, concurrency=asked.height
    )
    seconds = time.perf_counter() - start
    assert growth.rejected.is_empty(), growth.rejected
    return {
        "seconds": seconds,
        "leaves": float(len(leaf_paths(growth.forest))),
        "decoded": float(engine.num_decoded - before),
        "unique": float(token_counts(growth.forest)["unique_tokens"].sum()),
        "prefix": float(growth.costs["prefix_tokens"].sum()),
        "held": float(growth.costs["cached_tokens"].sum()),
        "again": float(growth.costs["recomputed_tokens"].sum()),
    }


if __name__ == "__main__":
    main()
