"""Samples of one problem decoded as one row until they part, against every sample in a row of its own.

Both draw the same samples in one process on the same engine, turn about, from an empty prefix cache. Requests share a
row only within a group, so the baseline gives each sample a group of its own.

    uv run packages/search/benchmarks/samples_together.py --problems 16 --samples 8 --temperatures 0.4 0.7 1.0
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import statistics
import time

from eduprm.core.seeds import derive_seed
from eduprm.problems import make_split, messages_for
from eduprm.search import Completion, PolicyTokenizer, Request, TransformersEngine


def drawn(engine: TransformersEngine, requests: list[Request]) -> tuple[list[Completion], float, int]:
    """The samples, seconds, and rows fed to the model."""

    async def go() -> list[Completion]:
        return list(await asyncio.gather(*(engine.generate(request) for request in requests)))

    engine.reset()
    fed, start = engine.num_fed, time.perf_counter()
    found = asyncio.run(go())
    return found, time.perf_counter() - start, engine.num_fed - fed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-steps")
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.7])
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    tokenizer = PolicyTokenizer(options.model)
    engine = TransformersEngine.from_pretrained(options.model, max_rows=options.rows)
    questions = make_split("long_sum", train=1, test=options.problems, seed=0).filter(split="test")
    prompts = [tuple(tokenizer.encode_chat(messages_for(one, "steps"))) for one in questions["question"]]
    for temperature in options.temperatures:
        together = [
            Request(
                prefix_ids=prompt,
                max_new_tokens=options.tokens,
                temperature=temperature,
                seed=derive_seed(0, number, sample),
                group=str(number),
            )
            for number, prompt in enumerate(prompts)
            for sample in range(options.samples)
        ]
        apart = [dataclasses.replace(one, group=f"{one.group}/{place}") for place, one in enumerate(together)]
        ratios, rates = [], []
        for turn in range(options.rounds + 1):
            ours, our_seconds, our_fed = drawn(engine, together)
            theirs, seconds, fed = drawn(engine, apart)
            if not turn:
                continue
            ratios.append(seconds / our_seconds)
            rates.append(sum(len(one.token_ids) for one in ours) / our_seconds)
            same = sum(
                a.token_ids.tolist() == b.token_ids.tolist() for a, b in zip(ours, theirs, strict=True)
            )
        print(
            f"T = {temperature}: {statistics.median(ratios):.2f}x as fast (min {min(ratios):.2f}, max "
            f"{max(ratios):.2f}, {options.rounds} rounds), {statistics.median(rates):.0f} tokens/s; rows fed {our_fed} "
            f"instead of {fed} ({fed / our_fed:.2f}x fewer); {same} of {len(ours)} samples equal, token by token",
            flush=True,
        )


if __name__ == "__main__":
    main()
