"""Threads on which torch does not split its operations any further.

Torch shares out every operation above 32,768 elements to its OpenMP threads and waits for all of them after each:
on busy cores that waiting costs far more than the work. Here whole rows are shared out instead, once a call.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def serial_threads(count: int) -> ThreadPoolExecutor:
    """A pool of `count` threads, made once, in each of which torch uses one thread.

    Examples:
        >>> serial_threads(2).submit(torch.get_num_threads).result()
        1
    """
    with _lock:
        if count not in _pools:
            _pools[count] = _make(count)
        return _pools[count]


def _make(count: int) -> ThreadPoolExecutor:
    started = threading.Barrier(count)
    before = torch.get_num_threads()
    # The number of OpenMP threads belongs to the thread that sets it, so the caller's own stays. What threads born
    # later start with does not: it is put back once all workers are up.
    pool = ThreadPoolExecutor(count, thread_name_prefix="eduprm-entropy", initializer=_use_one_thread)
    list(pool.map(lambda _: started.wait(), range(count)))
    torch.set_num_threads(before)
    return pool


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    # A thread takes over torch's common setting when it first asks for its own: let that be now.
    torch.get_num_threads()


def _forget() -> None:
    # A fork has none of its parent's threads.
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
