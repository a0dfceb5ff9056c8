"""The child side of `worker`: reads JSON lines, checks, writes JSON lines. Run as a module, never imported.

It bounds its own memory before it imports anything heavy, and sets an alarm that ends the process outright should the
parent have died and left it in a hang. It imports no polars and no numpy of its own. Replies leave through a private
copy of stdout, so that a library that prints cannot corrupt them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

Check = Callable[[dict[str, Any]], float]


def _bound_memory(mib: int | None) -> None:
    if mib is None:
        return
    try:
        import resource
    except ImportError:  # not POSIX: the time bound alone holds
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
    try:
        import signal

        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    except (ImportError, AttributeError):  # not POSIX
        return


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


def main() -> None:
    """Serve until the parent closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.set_int_max_str_digits(4300)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    hello = json.loads(sys.stdin.readline())
    _bound_memory(hello["memory_mib"])
    try:
        check = _load(hello["task"])
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        return
    reply({"ready": True})
    for line in sys.stdin:
        _set_alarm(2 * hello["timeout_s"] + 1)
        message = _answer(check, json.loads(line))
        _set_alarm(0)
        reply(message)


if __name__ == "__main__":
    main()
