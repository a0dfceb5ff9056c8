"""The child side of `check_process`: imports, then forks what reads JSON lines, checks, and writes JSON lines.

Run as a module, never imported. It bounds its own memory before it imports anything heavy. A fork sets an alarm that
ends it outright should the parent have died and left it in a hang. POSIX only, as forks are.
Replies leave through a private copy of stdout, so that a library that prints cannot corrupt them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

Check = Callable[[dict[str, Any]], float]


def _bound_memory(mib: int | None) -> None:
    if mib is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = mib << 20
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _set_alarm(seconds: float) -> None:
    """Arm (or with 0 disarm) a timer whose signal ends this process, also within one long C call."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _load(task: str) -> Check:
    if task == "math":
        from eduprm.label._math_check import check, warm_up

        warm_up()
        return check
    if task == "reasoning-gym":
        from eduprm.label._gym_check import load_check

        return load_check()
    if task == "drill":
        return _drill
    raise ValueError(f"expected a task out of math, reasoning-gym, drill, got {task!r}")


def _drill(item: dict[str, Any]) -> float:
    """Every way in which a check can go wrong, for tests and examples."""
    if "tower" in item:  # one C call that no signal handler of Python interrupts
        return float(9**9 ** item["tower"] > 0)
    bytearray(item.get("allocate_mib", 0) << 20)
    if "exit" in item:
        os._exit(item["exit"])
    print("a library that prints")
    return float(item["score"])


def _answer(check: Check, item: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"score": check(item)}
    except MemoryError:
        return {"error": "MemoryError"}
    except Exception as error:
        return {"error": type(error).__name__}


def _serve(check: Check, timeout_s: float, reply: Callable[[dict[str, Any]], None]) -> None:
    """Check one item after the other until the parent closes the pipe."""
    for line in sys.stdin:
        _set_alarm(2 * timeout_s + 1)
        item = json.loads(line)
        message = _answer(check, item)
        _set_alarm(0)
        reply({**message, "number": item["number"]})


def _discard_input() -> None:
    """Read away what a killed fork left of its last item."""
    while select.select([0], [], [], 0.0)[0] and os.read(0, 1 << 16):
        pass


def main() -> None:
    """Import, then fork what checks, again whenever it was killed, until the parent closes the pipe."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    sys.set_int_max_str_digits(4300)

    def reply(message: dict[str, Any]) -> None:
        os.write(
            descriptor, json.dumps(message).encode()[:4000] + b"\n"
        )  # a whole message at a time: PIPE_BUF

    hello = json.loads(sys.stdin.readline())
    _bound_memory(hello["memory_mib"])
    try:
        check = _load(hello["task"])
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"[:1000]})
        return
    gc.freeze()  # the forks share these pages as long as nothing writes to them
    while True:
        fork = os.fork()
        if not fork:
            _serve(check, hello["timeout_s"], reply)
            os._exit(0)
        reply({"ready": fork})
        if os.waitpid(fork, 0)[1] == 0:
            return
        _discard_input()


if __name__ == "__main__":
    main()
