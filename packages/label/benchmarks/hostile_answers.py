"""Grade answers made to break a grader, with every grader: longest wait, memory, and how the checks ended.

    uv run python packages/label/benchmarks/hostile_answers.py --count 10000

A table with a row per grader. Exit status 1 if a grader raised, or took longer for one answer than the bound on its
check and the start of a new worker allow. Each grader runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.label import get_grader, reasoning_gym_problems
from eduprm.label.testing import hostile_texts

GOLD = ("12", r"\frac{1}{2}", "x^2+1", "[1, 2)", r"\{1, 2\}")
GYM_SETS = (
    "products", "chain_sum", "countdown", "spiral_matrix", "string_insertion", "simple_integration",
    "fraction_simplification", "n_queens", "number_sorting", "polynomial_multiplication", "puzzle24",
    "bitwise_arithmetic", "simple_equations", "rubiks_cube", "boxnet",
)  # fmt: skip


class PeakOfWorkers(threading.Thread):
    """Samples the resident memory of this process's children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_kib = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            self._sample("self")

    def _sample(self, of: str) -> None:
        """Children and theirs: what checks is a fork of the worker."""
        with suppress(OSError, StopIteration):  # it ended meanwhile
            for task in Path(f"/proc/{of}/task").iterdir():
                for pid in (task / "children").read_text().split():
                    status = Path(f"/proc/{pid}/status").read_text()
                    line = next(row for row in status.splitlines() if row.startswith("VmHWM"))
                    self.peak_kib = max(self.peak_kib, int(line.split()[1]))
                    self._sample(pid)


def problems(name: str) -> list[dict[str, Any]]:
    """Rows of the problems table that the answers are graded against, in turn."""
    if name != "reasoning-gym":
        gold = GOLD if name == "math" else ("12", "0.5", "-1/3")
        return [{"problem_id": f"p{k}", "answer": answer} for k, answer in enumerate(gold)]
    import reasoning_gym

    frames = [
        reasoning_gym_problems(own, list(reasoning_gym.create_dataset(own, size=1, seed=3)), split="test")
        for own in GYM_SETS
    ]
    return pl.concat(frames).to_dicts()


def campaign(name: str, count: int, timeout_s: float, seed: int) -> dict[str, Any]:
    """Grade all texts one by one."""
    options = {} if name == "number" else {"timeout_s": timeout_s}
    rows, texts = problems(name), hostile_texts(count, seed=seed)
    watch = PeakOfWorkers()
    watch.start()
    waits: Counter[str] = Counter()
    slow, raised, right = [], [], []
    begun = time.perf_counter()
    with get_grader(name, **options) as grader:
        for number, (kind, text) in enumerate(texts):
            start = time.perf_counter()
            try:
                if grader.grade(text, rows[number % len(rows)]):
                    right.append(text[:60])
            except Exception as error:
                raised.append(f"{kind}: {type(error).__name__}: {str(error)[:80]}")
            wait = time.perf_counter() - start
            waits[kind] = max(waits[kind], round(wait, 3))
            if wait > timeout_s + 15:  # a new worker imports sympy, which takes seconds on a busy machine
                slow.append(f"{kind}: {wait:.1f} s")
        counts = {} if name == "number" else vars(grader.counts)
    watch.done.set()
    return {
        "grader": name,
        "answers": count,
        "seconds": round(time.perf_counter() - begun, 1),
        "longest_s": max(waits.values()),
        "longest_by_kind": dict(waits.most_common()),
        "worker_peak_mib": watch.peak_kib // 1024,
        "own_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "counts": counts,
        "graded_right": right,
        "raised": raised,
        "over_the_bound": slow,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout-s", type=float, default=1.0)
    parser.add_argument("--graders", nargs="+", default=["number", "math", "reasoning-gym"])
    parser.add_argument("--here", action="store_true", help="the one grader in this process")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(campaign(given.graders[0], given.count, given.timeout_s, given.seed)))
        return 0
    bad = False
    for name in given.graders:
        options = [f"--count={given.count}", f"--seed={given.seed}", f"--timeout-s={given.timeout_s}"]
        command = [sys.executable, __file__, "--here", "--graders", name, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{name}: ended with status {done.returncode}")
            bad = True
            continue
        found = json.loads(done.stdout)
        print(json.dumps(found, indent=1, ensure_ascii=True))
        bad = bad or bool(found["raised"] or found["over_the_bound"])
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
