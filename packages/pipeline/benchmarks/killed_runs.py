"""Kill apps/train and apps/rerank by SIGKILL at random moments, start them again, and compare with a run left alone.

    uv run python packages/pipeline/benchmarks/killed_runs.py train --kills 100
    uv run python packages/pipeline/benchmarks/killed_runs.py rerank --kills 100

Policy and PRM are tiny random models, the commands are the real ones. Each start is a process of its own, forked from
one that holds the imported libraries, so that a start costs no half minute of imports. A kill comes at a random moment
of a run's time, or just after a random number of changes in its folder, so that writes are hit. When a run ends, its
files are compared with those of the run left alone, byte by byte, and the next run begins in a new folder. What was
computed and stood finished (a shard, a chunk: `finished`) must not be written again by a later start. Prints JSON; exit
status 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}  # one thread: torch has started none when it is forked
SMALL = [
    "--problem.num-train", "2", "--problem.num-test", "2", "--shard-problems", "1", "--search.budget.max-leaves", "3",
    "--search.budget.max-tokens-per-path", "64", "--samples.num-samples", "2", "--prm.train.epochs", "2",
    "--bootstrap", "50",
]  # fmt: skip


class TrainJob:
    """The default job, all stages, with a tiny policy."""

    app = "eduprm_train.cli"
    compared = ("forest", "costs", "grades", "labels", "scores", "prm/model.safetensors", "solutions.jsonl",
                "problems.parquet", "metrics.json", "figures")  # fmt: skip

    def __init__(self, folder: Path) -> None:
        from eduprm.prm.testing import tiny_backbone

        self.policy = tiny_backbone(folder / "policy", max_position_embeddings=512)

    def command(self, place: Path) -> list[str]:
        return ["--run", str(place), *SMALL, "--policy.model", str(self.policy)]

    def finished(self, name: str, there: Container[str]) -> bool:
        """A shard is grown once its forest stands, and labelled once its labels do; each is written last."""
        part, _, file = name.partition("/")
        before = {"forest": True, "labels": True, "scores": True, "costs": f"forest/{file}" in there}
        return before.get(part, part == "grades" and f"labels/{file}" in there)


class RerankJob:
    """A file of 2,000 solutions, some of whose rows are wrong."""

    app = "eduprm_rerank.cli"
    compared = ("out.jsonl", "out.jsonl.report.html", "out.jsonl.rejected.jsonl")

    def __init__(self, folder: Path) -> None:
        from eduprm.prm.testing import tiny_prm
        from eduprm.rank.testing import problems, write_jsonl

        self.prm = tiny_prm(folder / "prm")
        rows = problems(500)
        self.file = write_jsonl(folder / "in.jsonl", [*rows[:400], "no JSON\n", *rows[400:], {"id": "x"}])

    def command(self, place: Path) -> list[str]:
        output = str(place / "out.jsonl")
        options = ["--output", output, "--chunk-solutions", "80", "--bootstrap", "50"]
        return [str(self.file), "--prm", str(self.prm), *options]

    def finished(self, name: str, there: Container[str]) -> bool:
        """A chunk; the outputs are joined from chunks, anew if the run is killed before it has cleared up."""
        return name.startswith("out.jsonl.work/chunks/") and "out.jsonl" not in there


def files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file under its own name, with what tells whether it was written again."""
    # os.walk passes over a folder that was renamed meanwhile; rglob raises.
    for path in (Path(folder) / one for folder, _, names in os.walk(place) for one in names):
        name = str(path.relative_to(place))
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file() and ".tmp-" not in name and ".partial" not in name:
            yield name, stat


def stamps(job: TrainJob | RerankJob, place: Path) -> dict[str, tuple[int, int]]:
    """What was computed and stands finished, by name, with what tells whether it was written again."""
    found = dict(files(place))
    return {
        name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items() if job.finished(name, found)
    }


def contents(place: Path, compared: tuple[str, ...]) -> dict[str, bytes]:
    found = {
        name: (place / name).read_bytes()
        for name, _ in files(place)
        if any(name == one or name.startswith(f"{one}/") for one in compared)
    }
    if "metrics.json" in found:  # it says how long each stage took, which no two runs share
        found["metrics.json"] = json.dumps({**json.loads(found["metrics.json"]), "stages": None}).encode()
    return found


class Started:
    """A start of the command in a forked process."""

    def __init__(
        self, job: TrainJob | RerankJob, place: Path, log: Path, modules: Path | None = None
    ) -> None:
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(sink, 1)
                os.dup2(sink, 2)
                os.chdir(ROOT)
                status = import_module(job.app).main(job.command(place))
                if modules is not None:
                    modules.write_text("\n".join(sorted(sys.modules)))
            except BaseException:
                traceback.print_exc()  # os._exit below would lose it
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def poll(self) -> int | None:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.01)
        return self.status or 0

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()


def load_all(modules: Path) -> None:
    """Import what a run imported, so that the next ones find it there."""
    for name in modules.read_text().split():
        with suppress(Exception):
            import_module(name)


def changes(place: Path) -> set[tuple[str, int]]:
    found = set()
    # os.walk passes over a folder that was renamed meanwhile; rglob raises.
    for folder, folders, names in os.walk(place):
        for path in (Path(folder) / one for one in (*folders, *names)):
            with suppress(FileNotFoundError):
                found.add((str(path), path.stat().st_mtime_ns))
    return found


def kill_at_random(process: Started, place: Path, rng: random.Random, whole_s: float) -> bool:
    """Kill at a random time, or a moment after a random number of changes in the folder; False: it ended before."""
    began, by_time, left = time.monotonic(), rng.random() < 0.4, rng.randint(1, 20)
    until = rng.uniform(0.0, whole_s) if by_time else 60 * whole_s
    after = rng.choice((0.0, 0.0, rng.uniform(0, 0.02), rng.uniform(0, 0.3)))
    seen = changes(place)
    while process.poll() is None and time.monotonic() - began < until:
        if not by_time:
            now = changes(place)
            left -= len(now - seen)
            seen |= now
            if left <= 0:
                time.sleep(after)
                break
        time.sleep(0.001)
    if process.poll() is not None:
        return False
    process.kill()
    return True


def compare(job: TrainJob | RerankJob, place: Path, want: dict[str, bytes]) -> list[str]:
    """What is wrong with a run that has ended."""
    got = contents(place, job.compared)
    faults = [f"{name} differs" for name in sorted({*want, *got}) if want.get(name) != got.get(name)]
    left = [path.name for path in place.rglob("*") if ".tmp-" in path.name or ".partial" in path.name]
    return faults + [f"{name} is left" for name in left]


def campaign(kind: str, kills: int, seed: int, limit_s: float) -> dict[str, object]:
    rng, begun = random.Random(seed), time.monotonic()
    found: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        job = {"train": TrainJob, "rerank": RerankJob}[kind](base)
        alone, log = base / "alone", base / "log"
        Started(job, alone, log, base / "modules").wait()
        want = contents(alone, job.compared)
        assert want, log.read_text()
        load_all(base / "modules")
        shutil.rmtree(alone)
        second = time.monotonic()
        status = Started(job, alone, log).wait()
        whole_s = time.monotonic() - second
        faults += [f"left alone twice: {fault}" for fault in compare(job, alone, want)]
        while found["kills"] < kills and time.monotonic() - begun < limit_s:
            place = base / "killed"
            shutil.rmtree(place, ignore_errors=True)
            written: dict[str, tuple[int, int]] = {}
            process = Started(job, place, log)
            for _ in range(rng.randint(3, 12)):
                if not kill_at_random(process, place, rng, whole_s):
                    break
                found["kills"] += 1
                now = stamps(job, place)
                again = [name for name, stamp in written.items() if now.get(name, stamp) != stamp]
                there = dict(files(place))
                joined = "out.jsonl" in there  # then rerank's chunks go
                gone = [name for name in written if name not in there and not joined]
                faults += [f"{name} was written again" for name in again] + [
                    f"{name} is gone" for name in gone
                ]
                found["files kept"] += len(written)
                written = now
                process = Started(job, place, log)
            if process.wait() != status:
                faults.append(f"exit status {process.status} after kills: {log.read_text()[-1500:]}")
                continue
            faults += compare(job, place, want)
            found["runs ended"] += 1
    seconds = {"seconds": round(time.monotonic() - begun), "seconds a run": round(whole_s, 1)}
    return {"job": kind, **found, "status": status, "compared": len(want), **seconds, "faults": faults}


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
