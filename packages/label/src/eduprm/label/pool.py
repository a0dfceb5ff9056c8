"""A grader whose checks run in a few bounded worker processes.

What it is for: what the graders `math` and `reasoning_gym` share. It does not know what is checked. Work is spread by
threads that only wait on pipes; verdicts do not depend on how many workers there are.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from eduprm.label.graders._contract import AnswerGrader, Problem
from eduprm.label.worker import BoundedWorker, WorkerCounts

_T = TypeVar("_T")
_R = TypeVar("_R")


class PooledGrader(AnswerGrader):
    """Base of graders with worker processes; subclasses say what is sent and what a score means."""

    task = "drill"

    def __init__(self, *, timeout_s: float, memory_mib: int | None, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"expected num_workers of at least 1, got {num_workers}")
        self._workers = [
            BoundedWorker(self.task, timeout_s=timeout_s, memory_mib=memory_mib) for _ in range(num_workers)
        ]
        self._free: queue.SimpleQueue[BoundedWorker] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)
        self._here = WorkerCounts()

    @property
    def counts(self) -> WorkerCounts:
        """How the checks ended, over all workers; answers settled without a worker are not counted."""
        total = WorkerCounts()
        for counts in (self._here, *(worker.counts for worker in self._workers)):
            total.add(counts)
        return total

    def grade_answer(self, answer: str, problem: Problem) -> bool:
        """Whether one extracted answer is right."""
        settled = self._settled(answer, problem)
        if settled is not None:
            return settled
        return self._is_right(self._check(self._item(answer, problem)) or 0.0)

    def grade_answers(self, pairs: Sequence[tuple[str, Problem]]) -> list[bool]:
        """Grade many (answer, problem) pairs, in order, over all workers."""
        return self._spread(lambda pair: self.grade_answer(*pair), pairs)

    def close(self) -> None:
        """Kill the worker processes; grading again starts them anew."""
        for worker in self._workers:
            worker.close()

    def _spread(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """The work done on every item, in order, by as many threads as there are workers."""
        if len(self._workers) == 1:
            return list(map(work, items))
        with ThreadPoolExecutor(len(self._workers)) as pool:
            return list(pool.map(work, items))

    def _check(self, item: dict[str, object]) -> float | None:
        """Score of one item by a worker that is free; None where the check failed."""
        worker = self._free.get()
        try:
            return worker.try_check(item)
        finally:
            self._free.put(worker)

    def _refuse(self) -> None:
        self._here.refused += 1

    def _settled(self, answer: str, problem: Problem) -> bool | None:
        """A verdict that needs no worker, or None."""
        return None

    def _item(self, answer: str, problem: Problem) -> dict[str, object]:
        raise NotImplementedError

    def _is_right(self, score: float) -> bool:
        raise NotImplementedError
