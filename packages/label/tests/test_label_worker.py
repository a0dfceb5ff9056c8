"""The bounded worker: it survives hangs, memory and death, and leaves no process behind."""

import os
import signal
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
    assert process.is_running()
    pids = (process.pid, process.fork_pid)
    del worker
    assert not process.is_running()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_killed_fork_is_replaced_without_importing_again() -> None:
    with BoundedWorker("drill", timeout_s=0.2) as worker:
        worker.check({"score": 1.0})
        process = worker._process
        forks = {process.fork_pid}
        for _ in range(5):
            assert worker.check({"tower": 9}) == 0.0
            forks.add(process.fork_pid)
        # One that dies with nothing to do is replaced unasked, and costs no answer.
        os.kill(process.fork_pid, signal.SIGKILL)
        time.sleep(0.5)
        assert worker.check({"score": 0.25}) == 0.25
        assert worker._process is process
        assert len(forks) == 6
        # Without the interpreter there is nothing to fork from: the next check starts another.
        os.kill(process.pid, signal.SIGKILL)
        process._process.wait()
        assert worker.check({"score": 0.5}) == 0.5
        assert worker._process is not process
    assert (worker.counts.done, worker.counts.timeouts, worker.counts.crashes) == (3, 5, 0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_hanging_worker_does_not_outlive_a_killed_parent() -> None:
    code = """
import os, signal
from eduprm.label import BoundedWorker
worker = BoundedWorker("drill", timeout_s=1.0)
process = worker._running()
print(process.pid, process.fork_pid, flush=True)
process._send({"tower": 9, "number": 1})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    deadline = time.monotonic() + 30
    for pid in done.stdout.split():
        stat = Path("/proc") / pid / "stat"
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline, "the worker is still running"
            time.sleep(0.1)


def test_a_worker_that_cannot_start_says_why() -> None:
    with BoundedWorker("nonsense") as worker, pytest.raises(WorkerStartError, match="nonsense"):
        worker.check({})
