"""All steps of a solution in one forward pass against one pass per prefix, on ProcessBench rows.

Scoring prefix by prefix is what the Hugging Face fork of ProcessBench's evaluation does: it computes the problem and
the first steps again for every later step. Both run in one process on the same model and rows, in turn, in batches of
like length under the same token budget and without any sharing between solutions. The ratio of interest is
    (prefix seconds / one-pass seconds) / (prefix tokens / one-pass tokens);
1 means that one pass saves as much time as it saves tokens. Scores must agree within 1e-3 and the first wrong steps (at
thresholds between the scores, no nearer than that to one) exactly.

    uv run packages/bench/benchmarks/bench_one_pass.py ../shared/data/processbench_gsm8k_dev.json --rows 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch

from eduprm.bench.steps import draw_rows, predict_first_wrong, read_processbench
from eduprm.prm import InputFormat, ProcessRewardModel
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.loading import load_classifier

TOLERANCE = 1e-3
Solution = tuple[list[int], list[list[int]]]


def load(name: str, batch_tokens: int) -> ProcessRewardModel:
    """A PRM with a small random head on a backbone: its scores mean nothing, but depend on every token."""
    if name == "smollm2-135m-instruct":
        from eduprm.policy import resolve_model

        name = str(resolve_model(name))
    model = load_classifier(name)
    std = 0.5 / model.config.get_text_config().hidden_size ** 0.5
    torch.nn.init.normal_(model.score.weight, std=std, generator=torch.Generator().manual_seed(0))
    return ProcessRewardModel(
        model, InputBuilder.from_pretrained(name, InputFormat()), batch_tokens=batch_tokens
    )


def one_pass(prm: ProcessRewardModel, solutions: Sequence[Solution]) -> list[list[float]]:
    return prm.score_ids(solutions)


def per_prefix(prm: ProcessRewardModel, solutions: Sequence[Solution]) -> list[list[float]]:
    """Each prefix is an input of its own: the problem and the steps so far as one step, scored at its end."""
    prefixes = [
        ([*prompt, *chain(*steps[:end])][:-1], [[steps[end - 1][-1]]])
        for prompt, steps in solutions
        for end in range(1, len(steps) + 1)
    ]
    flat = iter(prm.score_ids(prefixes))
    return [[next(flat)[0] for _ in steps] for _, steps in solutions]


def num_tokens(solutions: Sequence[Solution]) -> tuple[int, int]:
    """Tokens read in one pass, and prefix by prefix."""
    once = sum(len(prompt) + sum(map(len, steps)) for prompt, steps in solutions)
    again = sum(
        len(prompt) + sum(map(len, steps[:end]))
        for prompt, steps in solutions
        for end in range(1, len(steps) + 1)
    )
    return once, again


def check_equal(ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, int]:
    """Largest difference of scores, and at how many thresholds all predictions were compared and equal."""
    flat = np.concatenate([np.array(row) for row in ours])
    worst = float(np.abs(flat - np.concatenate([np.array(row) for row in theirs])).max())
    assert worst < TOLERANCE, f"scores differ by {worst}"
    assert np.ptp(flat) > 10 * TOLERANCE, f"nothing to compare: scores from {flat.min()} to {flat.max()}"
    between = np.quantile(flat, np.linspace(0.05, 0.95, 19))
    between = [float(t) for t in between if np.abs(flat - t).min() > worst]
    for threshold in between:
        assert predict_first_wrong(ours, threshold) == predict_first_wrong(theirs, threshold), threshold
    return worst, len(between)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", help="ProcessBench files")
    parser.add_argument(
        "--model", default="smollm2-135m-instruct", help="a backbone: bundled, a path or a name"
    )
    parser.add_argument("--rows", type=int, default=16, help="rows of each subset")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    prm = load(options.model, options.batch_tokens)
    items = read_processbench(options.data).items
    print(f"token ratio over all rows: {ratio_of_all(prm, items)}")
    for (part,), rows in draw_rows(items, options.rows).group_by(["part"], maintain_order=True):
        solutions = solutions_of(prm, rows)
        report(str(part), prm, solutions, rounds=options.rounds)


def solutions_of(prm: ProcessRewardModel, rows) -> list[Solution]:
    pairs = zip(rows["problem"], rows["steps"].to_list(), strict=True)
    return [(prm.builder.prompt_ids(problem), prm.builder.solution_ids(steps)) for problem, steps in pairs]


def ratio_of_all(prm: ProcessRewardModel, items) -> dict[str, float]:
    ratios = {}
    for (part,), rows in items.group_by(["part"], maintain_order=True):
        once, again = num_tokens(solutions_of(prm, rows))
        ratios[str(part)] = round(again / once, 2)
    return ratios


def report(part: str, prm: ProcessRewardModel, solutions: list[Solution], *, rounds: int) -> None:
    once, again = num_tokens(solutions)
    ways = {"one": one_pass, "prefix": per_prefix}
    worst, compared = check_equal(one_pass(prm, solutions), per_prefix(prm, solutions))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in sorted(ways, reverse=bool(number % 2)):
            began = time.perf_counter()
            ways[name](prm, solutions)
            seconds[name].append(time.perf_counter() - began)
    gains = [b / a for a, b in zip(seconds["one"], seconds["prefix"], strict=True)]
    shares = sorted(gain * once / again for gain in gains)
    one, prefix = (statistics.median(seconds[name]) for name in ("one", "prefix"))
    print(
        f"{part}: {len(solutions)} solutions, tokens x{again / once:.2f} ({once} and {again}); one pass {one:.2f} s "
        f"({once / one:.0f} tokens/s), per prefix {prefix:.2f} s ({again / prefix:.0f} tokens/s): "
        f"x{statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f}), share of the token ratio "
        f"{statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f}, {rounds} rounds); scores within "
        f"{worst:.1e}, predictions equal at {compared} of 19 thresholds compared"
    )


if __name__ == "__main__":
    main()
