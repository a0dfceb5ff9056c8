"""Rows decoded per second: the embedded engine against Hugging Face `generate` with as many rows.

Both decode the same prompts greedily for the same number of tokens, in one process, turn about. The engine measures
entropy, log-prob and runner-up of every token; `generate` measures nothing. The prompts share no prefix, so the
engine's prefix cache gives it nothing; `--shared` puts one worked example before all of them, the usual case.

    uv run packages/search/benchmarks/decode.py --rows 16 --tokens 48

`--trees 32` measures growing instead: EDU trees of 8 leaves against 8 samples of a problem, both through the engine.
On a GPU (NOT RUN YET: none was at hand), with a model of your own:

    uv run packages/search/benchmarks/decode.py --device cuda --dtype bfloat16 --model DIR --rows 64 --tokens 256
    (and the same with --trees 64)
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

import polars as pl
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from eduprm.policy import resolve_model
from eduprm.search import (
    Budget,
    EduSampling,
    HighTemperature,
    PolicyTokenizer,
    Request,
    Strategy,
    TransformersEngine,
    grow_forest,
)


def prompts(tokenizer: PolicyTokenizer, *, rows: int, shared: bool) -> list[tuple[int, ...]]:
    example = "Q: 17 * 3 = ?\n17 * 3 = 51\n#### 51\n" * 12 if shared else ""
    # A different first word each, so that nothing but the shared example is a common prefix.
    return [
        tuple(
            tokenizer.encode(
                f"{example}{chr(65 + row)}{row} Question {row}: what is {row + 3} times {row + 11}?"
            )
        )
        for row in range(rows)
    ]


def run_generate(model: torch.nn.Module, ids: list[tuple[int, ...]], *, tokens: int) -> list[list[int]]:
    width = max(map(len, ids))
    padded = torch.tensor([[0] * (width - len(row)) + list(row) for row in ids], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=model.device)
    out = model.generate(
        padded,
        attention_mask=mask,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return out[:, width:].tolist()


def run_engine(engine: TransformersEngine, ids: list[tuple[int, ...]], *, tokens: int) -> list[list[int]]:
    async def all_rows() -> list[list[int]]:
        done = await asyncio.gather(
            *(engine.generate(Request(prefix_ids=row, max_new_tokens=tokens)) for row in ids)
        )
        return [one.token_ids.tolist() for one in done]

    engine.reset()
    return asyncio.run(all_rows())


def grow(
    engine: TransformersEngine, ids: list[tuple[int, ...]], tokenizer: PolicyTokenizer, strategy: Strategy
) -> tuple[int, int, float]:
    """Grow one tree a prompt; return leaves, decoded tokens and seconds."""
    problems = pl.DataFrame(
        {
            "problem_id": [f"p{number}" for number in range(len(ids))],
            "prompt_token_ids": [list(row) for row in ids],
        }
    )
    engine.reset()
    before, start = engine.num_decoded, time.perf_counter()
    forest = grow_forest(problems, strategies=[strategy], engine=engine, tokenizer=tokenizer).forest
    seconds = time.perf_counter() - start
    return forest["finish"].is_not_null().sum(), engine.num_decoded - before, seconds


def compare_trees(
    engine: TransformersEngine, tokenizer: PolicyTokenizer, options: argparse.Namespace
) -> None:
    """EDU trees and independent samples of the same problems, turn about."""
    ids = prompts(tokenizer, rows=options.trees, shared=options.shared)
    strategies: dict[str, Strategy] = {
        "EDU": EduSampling(
            threshold=options.threshold, budget=Budget(max_leaves=8, max_tokens_per_path=options.tokens)
        ),
        "samples": HighTemperature(temperature=0.7, num_samples=8, max_tokens_per_path=options.tokens),
    }
    per_leaf: dict[str, list[float]] = {name: [] for name in strategies}
    for turn in range(options.rounds + 1):
        for name, strategy in strategies.items():
            leaves, decoded, seconds = grow(engine, ids, tokenizer, strategy)
            if turn:
                per_leaf[name].append(seconds / leaves)
            if turn == options.rounds:
                print(
                    f"{name}: {options.trees} problems, {leaves} leaves, {decoded} tokens decoded in {seconds:.2f} s"
                )
    for name, values in per_leaf.items():
        print(f"{name:8} {1e3 * statistics.median(values):.1f} ms a leaf")
    ratios = [b / a for a, b in zip(per_leaf["EDU"], per_leaf["samples"], strict=True)]
    print(
        f"samples / EDU, time a leaf: {statistics.median(ratios):.2f}x (min {min(ratios):.2f}, max {max(ratios):.2f}, "
        f"{len(ratios)} rounds)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--trees", type=int, help="grow this many trees instead of decoding rows")
    parser.add_argument("--threshold", type=float, default=0.5, help="nats; of the trees")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"decode: --device cuda: expected a CUDA device, torch {torch.__version__} finds none")

    where = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(f"{where}, torch {torch.__version__}, {options.model}, {options.dtype}, {options.rows} rows")
    tokenizer = PolicyTokenizer(options.model)
    logging.disable_progress_bar()
    if options.trees is not None:
        engine = TransformersEngine.from_pretrained(
            options.model, device=options.device, dtype=options.dtype, max_rows=options.rows
        )
        compare_trees(engine, tokenizer, options)
        return
    ids = prompts(tokenizer, rows=options.rows, shared=options.shared)
    baseline = AutoModelForCausalLM.from_pretrained(resolve_model(options.model), dtype=options.dtype).eval()
    baseline.to(options.device)
    baseline.generation_config.eos_token_id = None
    # No stop tokens: both decode exactly the same number of rows times tokens.
    engine = TransformersEngine.from_pretrained(
        options.model, device=options.device, dtype=options.dtype, max_rows=options.rows, stop_ids=frozenset()
    )
    seconds: dict[str, list[float]] = {"generate": [], "engine": []}
    for turn in range(options.rounds + 1):
        for name in seconds:
            start = time.perf_counter()
            if name == "generate":
                expected = run_generate(baseline, ids, tokens=options.tokens)
            else:
                got = run_engine(engine, ids, tokens=options.tokens)
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    agree = sum(a == b for a, b in zip(expected, got, strict=True))
    total = options.rows * options.tokens
    for name, times in seconds.items():
        print(
            f"{name:9} {total / statistics.median(times):7.1f} tokens/s  median {statistics.median(times):.2f} s"
        )
    ratios = [a / b for a, b in zip(seconds["generate"], seconds["engine"], strict=True)]
    print(
        f"engine / generate: {statistics.median(ratios):.2f}x  (min {min(ratios):.2f}, max {max(ratios):.2f}, "
        f"{len(ratios)} rounds); prompt {len(ids[0])} tokens; rows with equal tokens: {agree} of {options.rows}"
    )


if __name__ == "__main__":
    main()
