"""Cutting the solutions of each problem together (`TextCutter.steps`) against one by one, on a run's solutions.

Both in one process on the same policy, in turn, a few problems a round; equal steps are asserted.

    python packages/search/benchmarks/cut_together.py runs/default/solutions.jsonl --problems 4 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from eduprm.search import PolicyTokenizer, TextCutter


def main(arguments: Sequence[str]) -> None:
    """Print seconds, their ratios, and the number of solutions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="solutions.jsonl of a finished run")
    parser.add_argument("--policy", default="smollm2-135m-steps")
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--problems", type=int, default=4, help="problems a round")
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args(arguments)
    rows = [json.loads(line) for line in settings.file.read_text().splitlines()]
    tokenizer = PolicyTokenizer(settings.policy)
    cutter = TextCutter(settings.policy, {"entropy": {"threshold": settings.threshold}, "lines": {}})
    ratios = []
    for number in range(settings.rounds):
        chosen = rows[number * settings.problems :][: settings.problems]
        if not chosen:
            break
        asked = [
            (tokenizer.encode_chat([{"role": "user", "content": row["problem"]}]), row["solutions"])
            for row in chosen
        ]
        cutter.reset()
        began = time.perf_counter()
        apart = [[cutter.steps(prompt, [text])[0] for text in texts] for prompt, texts in asked]
        cutter.reset()
        middle = time.perf_counter()
        together = [cutter.steps(prompt, texts) for prompt, texts in asked]
        ended = time.perf_counter()
        assert together == apart
        ratios.append((middle - began) / (ended - middle))
        print(
            f"{sum(map(len, apart))} solutions: one by one {middle - began:.2f} s, together {ended - middle:.2f} s: "
            f"{ratios[-1]:.2f}x"
        )
    print(f"median {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main(sys.argv[1:])
