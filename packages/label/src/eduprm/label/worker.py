"""A subprocess that runs one kind of check with a bound on time and memory, and is killed when it breaks one.

What it is for: math-verify and reasoning-gym's scorers run other people's parsers on hostile text; a tower of powers
hangs them inside one C call (pytorch/torchtitan#4442), where no Python signal gets through. So the parent keeps the
clock and kills. It does not know what is checked (see `_child`). No pickle: JSON lines over pipes. The caller's
thread sees no signals, and may be any thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_REPLY_BYTES = 1 << 16
_START_TIMEOUT_S = 120.0


@dataclass
class WorkerCounts:
    """How checks ended, over the worker's life.

    Attributes:
        done: Answered in time.
        errors: The check itself raised (unreadable answer); graded wrong.
        timeouts: Killed for time; graded wrong.
        out_of_memory: Ran into the memory bound; graded wrong.
        crashes: Died or answered nonsense; graded wrong.
        refused: Too long to be sent; graded wrong.
    """

    done: int = 0
    errors: int = 0
    timeouts: int = 0
    out_of_memory: int = 0
    crashes: int = 0
    refused: int = 0

    def add(self, other: WorkerCounts) -> None:
        """Add another worker's counts to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class WorkerStartError(RuntimeError):
    """The worker process could not start at all: a fault of the installation, not of an answer."""


class BoundedWorker:
    """One long-lived child process, restarted whenever it had to be killed. Safe to share between threads.

    Args:
        task: A task that `eduprm.label._child` knows: "math", "reasoning-gym", or "drill" to try the bounds.
        timeout_s: Wall-clock seconds per check.
        memory_mib: Address space of the child (RLIMIT_AS), imports included; None for no bound.

    Examples:
        >>> with BoundedWorker("drill", timeout_s=10.0) as worker:
        ...     worker.check({"score": 1.0}), worker.counts.done
        (1.0, 1)
    """

    def __init__(self, task: str, *, timeout_s: float = 5.0, memory_mib: int | None = 2048) -> None:
        if timeout_s <= 0:
            raise ValueError(f"expected timeout_s above 0 (checks are never unbounded), got {timeout_s}")
        self.task, self.timeout_s, self.memory_mib = task, timeout_s, memory_mib
        self.counts = WorkerCounts()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._stop: Any = None

    def check(self, item: dict[str, Any]) -> float:
        """Score of one item; 0.0 where it failed in any way (`counts` says which).

        Raises:
            WorkerStartError: the child cannot start (an extra is missing, say).
        """
        return self.try_check(item) or 0.0

    def try_check(self, item: dict[str, Any]) -> float | None:
        """As `check`, with None where it failed: refused, out of time or memory, crashed, or raised."""
        line = json.dumps(item).encode() + b"\n"
        with self._lock:
            if len(line) > _MAX_REPLY_BYTES // 2:  # must fit a pipe, so that writing never blocks
                self.counts.refused += 1
                return None
            process = self._running()
            reply = self._ask(process, line, time.monotonic() + self.timeout_s)
            return self._settle(reply)

    def close(self) -> None:
        """Kill the child; the next check starts a new one."""
        with self._lock:
            self._kill()

    def __enter__(self) -> BoundedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self, reply: dict[str, Any] | str) -> float | None:
        if isinstance(reply, str):  # "timeouts" or "crashes": the child cannot be used again
            setattr(self.counts, reply, getattr(self.counts, reply) + 1)
            self._kill()
            return None
        if reply.get("error") == "MemoryError":
            self.counts.out_of_memory += 1
            self._kill()
            return None
        score = reply.get("score")
        if not isinstance(score, int | float):
            self.counts.errors += 1
            return None
        self.counts.done += 1
        return float(score)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork the pipes belong to the parent
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        self._process = process = _start()
        self._stop = weakref.finalize(self, _kill, process)
        hello = {"task": self.task, "timeout_s": self.timeout_s, "memory_mib": self.memory_mib}
        reply = self._ask(process, json.dumps(hello).encode() + b"\n", time.monotonic() + _START_TIMEOUT_S)
        if isinstance(reply, str) or not reply.get("ready"):
            self._kill()
            why = reply if isinstance(reply, str) else reply.get("error")
            raise WorkerStartError(f"expected the {self.task} worker to start, got {why}")
        return process

    def _ask(self, process: subprocess.Popen[bytes], line: bytes, deadline: float) -> dict[str, Any] | str:
        """Send a line and read one; "timeouts" or "crashes" where there is no usable reply."""
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            data = _read_line(process, deadline)
        except OSError:
            return "crashes"
        if data is None:
            return "timeouts"
        try:
            reply = json.loads(data)
        except ValueError:
            return "crashes"
        return reply if isinstance(reply, dict) else "crashes"

    def _kill(self) -> None:
        if self._stop is not None:
            self._stop()
        self._process = self._stop = None


def _start() -> subprocess.Popen[bytes]:
    """A bare interpreter on `_child`, with this process's import path and one BLAS thread."""
    paths = [str(Path(entry).resolve()) for entry in sys.path if entry and Path(entry).exists()]
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "eduprm.label._child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
        close_fds=True,
    )


def _read_line(process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """One line from the child, None when the time is up; an empty or endless line comes back as it is."""
    assert process.stdout is not None
    descriptor, data = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not data.endswith(b"\n") and len(data) < _MAX_REPLY_BYTES:
            if not selector.select(max(deadline - time.monotonic(), 0.0)):
                return None
            chunk = os.read(descriptor, 4096)
            if not chunk:
                break
            data += chunk
    return data


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # unsent bytes to a dead child
                pipe.close()
