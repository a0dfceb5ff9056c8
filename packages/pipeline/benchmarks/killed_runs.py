"""Kill apps/train and apps/rerank by SIGKILL at random moments, start them again, and compare with a run left alone.

    uv run python packages/pipeline/benchmarks/killed_runs.py train --kills 100
    uv run python packages/pipeline/benchmarks/killed_runs.py rerank --kills 100

Policy and PRM are tiny random models, the commands are the real ones. A kill comes at a random moment of a run's time, or
just after a random number of changes in its folder, so that writes are hit. When a run ends, its files are compared with
those of the run left alone, byte by byte, and the next run begins in a new folder. A file that stands under its own name
must not be written again by a later start. Prints JSON; exit status 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
SMALL = [
    "--problem.num-train", "2", "--problem.num-test", "2", "--shard-problems", "1", "--search.budget.max-leaves", "3",
    "--search.budget.max-tokens-per-path", "64", "--samples.num-samples", "2", "--prm.train.epochs", "2",
    "--bootstrap", "50",
]  # fmt: skip


class TrainJob:
    """The default job, all stages, with a tiny policy."""

    # What a start may write anew: what it says of itself, checkpoints, and the stage that was under way.
    again = (
        "config.json",
        "stages",
        "prm",
        "report.html",
        "metrics.json",
        "figures",
        "training.json",
        "rejected",
    )
    compared = ("forest", "costs", "grades", "labels", "scores", "prm/model.safetensors", "solutions.jsonl",
                "problems.parquet", "metrics.json", "figures")  # fmt: skip

    def __init__(self, folder: Path) -> None:
        from eduprm.prm.testing import tiny_backbone

        self.policy = tiny_backbone(folder / "policy", max_position_embeddings=512)

    def command(self, place: Path) -> list[str]:
        return ["apps/train", "--run", str(place), *SMALL, "--policy.model", str(self.policy)]


class RerankJob:
    """A file of 3,000 solutions, some of whose rows are wrong."""

    again = ("out.jsonl.work/.lock", "out.jsonl.work/index.sqlite")
    compared = ("out.jsonl", "out.jsonl.report.html", "out.jsonl.rejected.jsonl")

    def __init__(self, folder: Path) -> None:
        from eduprm.prm.testing import tiny_prm
        from eduprm.rank.testing import problems, write_jsonl

        self.prm = tiny_prm(folder / "prm")
        rows = problems(750)
        self.file = write_jsonl(folder / "in.jsonl", [*rows[:400], "no JSON\n", *rows[400:], {"id": "x"}])

    def command(self, place: Path) -> list[str]:
        output = str(place / "out.jsonl")
        options = ["--output", output, "--chunk-solutions", "40", "--bootstrap", "50"]
        return ["apps/rerank", str(self.file), "--prm", str(self.prm), *options]


def files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file under its own name, with what tells whether it was written again."""
    for path in place.rglob("*"):
        name = str(path.relative_to(place))
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file() and ".tmp-" not in name and ".partial" not in name:
            yield name, stat


def stamps(place: Path, again: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    return {
        name: (stat.st_ino, stat.st_mtime_ns)
        for name, stat in files(place)
        if not any(name == one or name.startswith(f"{one}/") for one in again)
        and not name.endswith("key.json")
    }


def contents(place: Path, compared: tuple[str, ...]) -> dict[str, bytes]:
    return {
        name: (place / name).read_bytes()
        for name, _ in files(place)
        if any(name == one or name.startswith(f"{one}/") for one in compared)
    }


def start(job: TrainJob | RerankJob, place: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        command = [sys.executable, *job.command(place)]
        return subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink, env=ENVIRONMENT)


def kill_at_random(process: subprocess.Popen[bytes], place: Path, rng: random.Random, whole_s: float) -> bool:
    """Kill at a random time, or a moment after a random number of changes in the folder; False: it ended before."""
    began, changes, seen = time.monotonic(), rng.randint(1, 8), set()
    by_time = rng.random() < 0.3
    until = rng.uniform(0.1, whole_s) if by_time else 60 * whole_s
    after = rng.choice((0.0, 0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.5)))
    first = True
    while process.poll() is None and time.monotonic() - began < until:
        now = (
            {(str(path), path.stat().st_mtime_ns) for path in place.rglob("*") if path.exists()}
            if not by_time
            else set()
        )
        fresh = now - seen
        seen |= now
        changes -= 0 if first else bool(fresh)
        first = False
        if not by_time and changes <= 0:
            time.sleep(after)
            break
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def campaign(kind: str, kills: int, seed: int, limit_s: float) -> dict[str, object]:
    rng, begun = random.Random(seed), time.monotonic()
    found: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        job = {"train": TrainJob, "rerank": RerankJob}[kind](base)
        alone, log = base / "alone", base / "log"
        status = start(job, alone, log).wait()
        whole_s = time.monotonic() - begun
        want = contents(alone, job.compared)
        assert want, log.read_text()
        while found["kills"] < kills and time.monotonic() - begun < limit_s:
            place = base / "killed"
            shutil.rmtree(place, ignore_errors=True)
            written: dict[str, tuple[int, int]] = {}
            # After some kills a run is left to end, so that several end.
            for attempt in range(rng.randint(3, 12) + 1):
                last = attempt > 2 and (found["kills"] >= kills or rng.random() < 0.12)
                process = start(job, place, log)
                if last or not kill_at_random(process, place, rng, whole_s):
                    break
                found["kills"] += 1
                now = stamps(place, job.again)
                found["files kept"] += len(written)
                faults += [
                    f"{name} was written again"
                    for name, stamp in written.items()
                    if now.get(name, stamp) != stamp
                ]
                faults += [f"{name} is gone" for name in written if name not in now]
                written = now
            else:
                process = start(job, place, log)
            if process.wait() != status:
                faults.append(f"exit status {process.returncode} after kills: {log.read_text()[-500:]}")
                continue
            got = contents(place, job.compared)
            faults += [f"{name} differs" for name in sorted({*want, *got}) if want.get(name) != got.get(name)]
            faults += [
                f"{path.name} is left"
                for path in place.rglob("*")
                if ".tmp-" in path.name or ".partial" in path.name
            ]
            found["runs ended"] += 1
    return {
        "job": kind,
        **found,
        "status": status,
        "compared": len(want),
        "seconds": round(time.monotonic() - begun),
        "faults": faults,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", choices=("train", "rerank"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit-s", type=float, default=3600.0, help="no new run is begun after so many seconds"
    )
    given = parser.parse_args()
    found = campaign(given.job, given.kills, given.seed, given.limit_s)
    print(json.dumps(found, indent=1))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
