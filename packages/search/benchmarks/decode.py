"""Rows decoded per second: the embedded engine against Hugging Face `generate` with as many rows.

Both decode the same prompts greedily for the same number of tokens, in one process, turn about. The engine measures
entropy, log-prob and runner-up of every token; `generate` measures nothing. The prompts share no prefix, so the
engine's prefix cache gives it nothing; `--shared` puts one worked example before all of them, the usual case.

    uv run packages/search/benchmarks/decode.py --rows 16 --tokens 48
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from eduprm.search import PolicyTokenizer, Request, TransformersEngine, resolve_model


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
    padded = torch.tensor([[0] * (width - len(row)) + list(row) for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shared", action="store_true")
    options = parser.parse_args()

    tokenizer = PolicyTokenizer(options.model)
    ids = prompts(tokenizer, rows=options.rows, shared=options.shared)
    logging.disable_progress_bar()
    baseline = AutoModelForCausalLM.from_pretrained(resolve_model(options.model)).eval()
    baseline.generation_config.eos_token_id = None
    # No stop tokens: both decode exactly the same number of rows times tokens.
    engine = TransformersEngine.from_pretrained(options.model, max_rows=options.rows, stop_ids=frozenset())
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
