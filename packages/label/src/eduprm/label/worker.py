"""A subprocess that runs one kind of check with a bound on time and memory, and is killed when it breaks one.

What it is for: math-verify and reasoning-gym's scorers run other people's parsers on hostile text; a tower of powers
hangs them inside one C call (pytorch/torchtitan#4442), where no Python signal gets through. So the parent keeps the
clock and kills. It does not know what is checked (see `_child`). The caller's thread sees no signals, and may be any
thread.
"""

from __future__ import annotations

import json
import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any

from eduprm.label.check_process import MAX_LINE_BYTES, CheckProcess, WorkerStartError

__all__ = ["BoundedWorker", "WorkerCounts", "WorkerStartError"]


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


class BoundedWorker:
    """One process that has imported what checks need, and the fork of it that checks. Safe to share between threads.

    A fork that had to be killed is replaced in milliseconds: nothing is imported again.

    Args:
        task: A task that `eduprm.label._child` knows: "math", "reasoning-gym", or "drill" to try the bounds.
        timeout_s: Wall-clock seconds per check.
        memory_mib: Address space of each (RLIMIT_AS), imports included; None for no bound.

    Examples:
        >>> with BoundedWorker("drill", timeout_s=10.0) as worker:
        ...     worker.check({"score": 1.0}), worker.counts.done
        (1.0, 1)
    """

    def __init__(self, task: str, *, timeout_s: float = 5.0, memory_mib: int | None = 2048) -> None:
        if timeout_s <= 0:
            raise ValueError(f"expected timeout_s above 0 (checks are never unbounded), got {timeout_s}")
        if memory_mib is not None and not (isinstance(memory_mib, int) and memory_mib > 0):
            raise ValueError(f"expected memory_mib as a whole number above 0 or None, got {memory_mib!r}")
        self.task, self.timeout_s, self.memory_mib = task, timeout_s, memory_mib
        self.counts = WorkerCounts()
        self._lock = threading.Lock()
        self._process: CheckProcess | None = None
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
        with self._lock:
            if len(json.dumps(item)) > MAX_LINE_BYTES:  # must fit a pipe, so that writing never blocks
                self.counts.refused += 1
                return None
            process = self._running()
            return self._settle(process.ask(item, time.monotonic() + self.timeout_s))

    def close(self) -> None:
        """Kill the processes; the next check starts new ones."""
        with self._lock:
            self._kill()

    def __enter__(self) -> BoundedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self, reply: dict[str, Any] | str) -> float | None:
        if isinstance(reply, str):  # "timeouts" or "crashes": this fork cannot be used again
            setattr(self.counts, reply, getattr(self.counts, reply) + 1)
            self._replace()
            return None
        if reply.get("error") == "MemoryError":
            self.counts.out_of_memory += 1
            self._replace()
            return None
        score = reply.get("score")
        if not isinstance(score, int | float):
            self.counts.errors += 1
            return None
        self.counts.done += 1
        return float(score)

    def _running(self) -> CheckProcess:
        if self._owner != os.getpid():  # after a fork the pipes belong to the parent
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.is_running():
            return self._process
        self._kill()
        hello = {"task": self.task, "timeout_s": self.timeout_s, "memory_mib": self.memory_mib}
        self._process = process = CheckProcess()
        self._stop = weakref.finalize(self, process.kill)
        try:
            process.start(hello)
        except WorkerStartError:
            self._kill()
            raise
        return process

    def _replace(self) -> None:
        if self._process is None or not self._process.replace_fork():
            self._kill()

    def _kill(self) -> None:
        if self._stop is not None:
            self._stop()
        self._process = self._stop = None
