"""Scores with weights of 8 bits against the full model's, on the solutions of a run, both in one process in turn.

    uv run --extra int8 packages/prm/benchmarks/bench_int8.py runs/default/solutions.jsonl --prm runs/default/prm

Steps are lines. `weights`: what `--weights int8` does; `both`: inputs of the layers rounded too.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eduprm.policy import resolve_model
from eduprm.prm import ProcessRewardModel
from eduprm.prm.int8 import to_int8

Solutions = list[list[tuple[str, list[str]]]]


def read(file: Path, problems: int) -> Solutions:
    rows = [json.loads(line) for line in file.read_text().splitlines()[:problems]]
    return [
        [(row["problem"], text.splitlines(keepends=True)) for text in row["solutions"] if text.strip()]
        for row in rows
    ]


def scores(prm: ProcessRewardModel, problems: Solutions) -> tuple[list[list[list[float]]], list[float]]:
    """Scores by problem, solution and step, and the seconds of each problem."""
    found, seconds = [], []
    for solutions in problems:
        began = time.perf_counter()
        results = prm.score_steps(solutions, as_cut=True)
        seconds.append(time.perf_counter() - began)
        found.append([one.scores for one in results if one.scores is not None])
    return found, seconds


def rank_agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation, ties at their mean rank."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[place]

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def megabytes(model: Any) -> float:
    """Of parameters, each once; of a quantised one its integers and scales."""
    total = 0
    for parameter in {id(p): p for p in model.parameters()}.values():
        parts = [getattr(parameter, name, None) for name in ("qdata", "scale")]
        tensors = [part for part in parts if part is not None] or [parameter]
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return total / 1e6


def main(arguments: Sequence[str]) -> None:
    """Print differences, agreements and time ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="solutions.jsonl of a run")
    parser.add_argument("--prm", default="smollm2-135m-steps-prm")
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    settings = parser.parse_args(arguments)
    problems = read(settings.file, settings.problems)
    full = ProcessRewardModel.from_pretrained(resolve_model(settings.prm), "cpu", "float32")
    models = {"full": full}
    for name, activations in (("weights", False), ("both", True)):
        models[name] = copy.copy(full)
        models[name].model = to_int8(copy.deepcopy(full.model), activations=activations)
    found: dict[str, Any] = {}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(settings.rounds):
        for name, prm in models.items():
            found[name], seconds = scores(prm, problems)
            times[name] += seconds
    flat = {name: np.array([s for p in one for o in p for s in o]) for name, one in found.items()}
    least = {name: [[min(o) for o in p] for p in one] for name, one in found.items()}
    print(f"{len(problems)} problems, {sum(map(len, problems))} solutions, {len(flat['full'])} steps")
    for name in ("weights", "both"):
        gaps = np.abs(flat[name] - flat["full"])
        same = [np.argmax(a) == np.argmax(b) for a, b in zip(least["full"], least[name], strict=True)]
        ratios = [own / whole for own, whole in zip(times[name], times["full"], strict=True)]
        print(
            f"{name}: score difference mean {gaps.mean():.4f}, largest {gaps.max():.4f}; rank agreement of steps "
            f"{rank_agreement(flat['full'], flat[name]):.4f}; best by least score the same in {sum(same)} of "
            f"{len(same)}; seconds {statistics.median(ratios):.2f} of the full model's ({min(ratios):.2f} to "
            f"{max(ratios):.2f}); {megabytes(models[name].model):.0f} MB of {megabytes(full.model):.0f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
