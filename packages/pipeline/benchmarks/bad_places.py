"""Run apps/train and apps/rerank where they cannot write: a full disk, a read-only one, a folder that another run uses.

    sudo uv run python packages/pipeline/benchmarks/bad_places.py train
    sudo uv run python packages/pipeline/benchmarks/bad_places.py rerank

Each place is a tmpfs of its own, which mounting wants root for. The command must end with status 2 and one line of its
own, leave no temporary, and, given again once there is room, end with the files of a run that had room from the start.
Of two runs on one folder, one says so in one line and ends with 2, the other is left alone. Prints JSON; exit status 1
on any fault. Jobs and comparison are those of killed_runs.py.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from killed_runs import RerankJob, Started, TrainJob, compare, contents, files, load_all

SHARES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Sizes of the disks, as shares of what a run leaves behind."""


@contextmanager
def disk(place: Path, options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def said(log: Path, name: str) -> str | None:
    """The one line that a refused run may say of itself; None where it says more, or a traceback."""
    text = log.read_text(errors="replace")
    lines = [line for line in text.splitlines() if line.startswith(f"{name}: ")]
    return lines[0] if len(lines) == 1 and "Traceback" not in text else None


class Places:
    """The checks, one after another; `rows` and `faults` hold what came of them."""

    def __init__(self, kind: str, base: Path) -> None:
        self.kind, self.base, self.log = kind, base, base / "log"
        self.job: TrainJob | RerankJob = {"train": TrainJob, "rerank": RerankJob}[kind](base)
        self.rows: list[dict[str, object]] = []
        self.faults: list[str] = []
        alone = base / "alone"
        self.status = Started(self.job, alone, self.log, base / "modules").wait()
        self.want = contents(alone, self.job.compared)
        assert self.want, self.log.read_text()
        self.size_kib = sum(stat.st_size for _, stat in files(alone)) // 1024
        load_all(base / "modules")

    def refused(self, what: str, status: int, log: Path) -> None:
        line = said(log, self.kind)
        self.rows.append({"place": what, "status": status, "line": line})
        if status != 2 or line is None:
            self.faults.append(f"{what}: status {status}: {log.read_text(errors='replace')[-600:]}")

    def ends(self, what: str, run: Path) -> None:
        status = Started(self.job, run, self.log).wait()
        if status != self.status:
            self.faults.append(f"{what}: given again, status {status}: {self.log.read_text()[-600:]}")
        self.faults += [f"{what}: {fault}" for fault in compare(self.job, run, self.want)]

    def full(self) -> None:
        for share in SHARES:
            kib = max(8, int(share * self.size_kib))
            with disk(self.base / "disk", f"size={kib}k") as place:
                self.refused(
                    f"full disk of {kib} KiB", Started(self.job, place / "run", self.log).wait(), self.log
                )
                left = [path.name for path in place.rglob("*") if ".tmp-" in path.name]
                self.faults += [f"full disk of {kib} KiB: {name} is left" for name in left]
                remount(place, "size=256m")
                self.ends(f"full disk of {kib} KiB", place / "run")

    def read_only(self) -> None:
        with disk(self.base / "disk", "size=256m") as place:
            remount(place, "ro")
            self.refused("read-only disk", Started(self.job, place / "run", self.log).wait(), self.log)
            remount(place, "rw")
            self.ends("read-only disk", place / "run")

    def two_at_once(self) -> None:
        run, other = self.base / "two", self.base / "other"
        first = Started(self.job, run, self.log)
        while not list(run.rglob(".lock")):
            time.sleep(0.001)
        self.refused("folder in use", Started(self.job, run, other).wait(), other)
        if first.wait() != self.status:
            self.faults.append(f"the first of two: status {first.status}")
        self.faults += [f"folder in use: {fault}" for fault in compare(self.job, run, self.want)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", choices=("train", "rerank"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = Places(given.job, Path(folder))
        places.full()
        places.read_only()
        places.two_at_once()
    print(json.dumps({"job": given.job, "places": places.rows, "faults": places.faults}, indent=1))
    return int(bool(places.faults))


if __name__ == "__main__":
    sys.exit(main())
