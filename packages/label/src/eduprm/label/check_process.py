"""The parent's side of a process that forks what checks: start, ask, replace, kill.

What it is for: `worker`. The process imports once (sympy takes seconds) and forks; the fork reads items and answers
(`_child`). No pickle: JSON lines over pipes. Every item has a number, so that an answer that comes too late is told
from the one that is waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MAX_LINE_BYTES = 1 << 15
"""Longest item; half of what a pipe holds."""

_START_TIMEOUT_S = 120.0


class WorkerStartError(RuntimeError):
    """The process could not start at all: a fault of the installation, not of an answer."""


class CheckProcess:
    """A bare interpreter on `_child`, with this process's import path and one BLAS thread.

    Attributes: `pid`, of the interpreter; `fork_pid`, of the fork that checks now, None before `start` and while it is
    replaced.
    """

    def __init__(self) -> None:
        paths = [str(Path(entry).resolve()) for entry in sys.path if entry and Path(entry).exists()]
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "eduprm.label._child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
            close_fds=True,
        )
        self.pid = self._process.pid
        self.fork_pid: int | None = None
        self._asked: int | None = None  # the fork that got the last item
        self._data = b""
        self._number = 0

    def start(self, hello: dict[str, Any]) -> None:
        """Say what is to be checked and wait until it can be.

        Raises:
            WorkerStartError: it cannot (an extra is missing, say).
        """
        why: object = "crashes"
        with contextlib.suppress(OSError):
            self._send(hello)
            reply = self._read(time.monotonic() + _START_TIMEOUT_S)
            why = reply.get("error") if isinstance(reply, dict) else reply
        if self.fork_pid is None:
            raise WorkerStartError(f"expected the {hello['task']} worker to start, got {why}")

    def is_running(self) -> bool:
        """Whether the interpreter lives."""
        return self._process.poll() is None

    def ask(self, item: dict[str, Any], deadline: float) -> dict[str, Any] | str:
        """What the fork answers; "timeouts" or "crashes" where there is no usable answer."""
        try:
            # A fork that died unasked was replaced unasked.
            while isinstance(stale := self._read(0.0), dict):
                pass
            if stale == "crashes":
                return stale
            self._number += 1
            self._asked = self.fork_pid
            self._send({**item, "number": self._number})
            while True:
                reply = self._read(deadline)
                if isinstance(reply, str):
                    return reply
                if reply.get("number") == self._number:
                    return reply
                if "ready" in reply:  # the fork died of this item, and here is another
                    return "crashes"
        except OSError:
            return "crashes"

    def replace_fork(self) -> bool:
        """Kill the fork that was asked, unless it is gone, and wait for another; False if none comes."""
        if self.fork_pid == self._asked:
            self._kill_fork()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.fork_pid is None:
            if isinstance(self._read(deadline), str):
                return False
        return True

    def kill(self) -> None:
        """End both; nothing of them is left when it returns."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # unsent bytes to a dead child
                pipe.close()
        forked = self.fork_pid is not None
        self._kill_fork()
        try:
            # Its input at an end, the interpreter reaps the fork and ends.
            self._process.wait(5.0 if forked else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _kill_fork(self) -> None:
        if self.fork_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.fork_pid, signal.SIGKILL)
        self.fork_pid = None

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self, deadline: float) -> dict[str, Any] | str:
        """One message, noting a new fork; "timeouts" when the time is up, "crashes" for an end or anything else."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._data:
                if not selector.select(max(deadline - time.monotonic(), 0.0)):
                    return "timeouts"
                chunk = os.read(descriptor, 4096)
                if not chunk or len(self._data) > MAX_LINE_BYTES:
                    return "crashes"
                self._data += chunk
        line, _, self._data = self._data.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            return "crashes"
        if not isinstance(message, dict):
            return "crashes"
        self.fork_pid = message.get("ready", self.fork_pid)
        return message
