"""The bounded worker: it survives hangs, memory and death, and leaves no process behind."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from eduprm.label import BoundedWorker
from eduprm.label.worker import WorkerStartError


def test_worker_survives_hangs_memory_and_death_and_no_noise_gets_through() -> None:
    with BoundedWorker("drill", timeout_s=3.0, memory_mib=512) as worker:
        assert worker.check({"score": 0.5}) == 0.5
        start = time.monotonic()
        assert worker.check({"tower": 9}) == 0.0
        assert 2.9 < time.monotonic() - start < 10.0
        assert worker.check({"allocate_mib": 4096, "score": 1.0}) == 0.0
        assert worker.check({"exit": 3, "score": 1.0}) == 0.0
        assert worker.check({"nothing": True}) == 0.0
        assert worker.check({"score": 1.0, "long": "x" * 100_000}) == 0.0
        assert worker.check({"score": 1.0}) == 1.0
    counts = worker.counts
    assert (counts.done, counts.timeouts, counts.out_of_memory) == (2, 1, 1)
    assert (counts.crashes, counts.errors, counts.refused) == (1, 1, 1)


def test_worker_runs_in_any_thread() -> None:
    scores: list[float] = []
    with BoundedWorker("drill", timeout_s=10.0) as worker:
        threads = [
            threading.Thread(target=lambda: scores.append(worker.check({"score": 1.0}))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert scores == [1.0] * 4


def test_closing_leaves_no_process() -> None:
    worker = BoundedWorker("drill", timeout_s=10.0)
    worker.check({"score": 1.0})
    process = worker._process
    assert process is not None
    assert process.poll() is None
    del worker
    assert process.poll() is not None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_hanging_worker_does_not_outlive_a_killed_parent() -> None:
    code = """
import os, signal
from eduprm.label import BoundedWorker
worker = BoundedWorker("drill", timeout_s=1.0)
process = worker._running()
print(process.pid, flush=True)
process.stdin.write(b'{"tower": 9}\\n')
process.stdin.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    stat = Path("/proc") / done.stdout.strip() / "stat"
    deadline = time.monotonic() + 30
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the worker is still running"
        time.sleep(0.1)


def test_a_worker_that_cannot_start_says_why() -> None:
    with BoundedWorker("nonsense") as worker, pytest.raises(WorkerStartError, match="nonsense"):
        worker.check({})
