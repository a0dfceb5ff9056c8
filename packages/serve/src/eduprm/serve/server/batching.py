"""A bounded queue of solutions, and the one thread that owns the model and empties it in packs of tokens.

No request waits for others to come: while a pack is in the model, what comes meanwhile is what the next one is made
of. So an idle service answers at once, and a busy one fills its forward passes.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eduprm.prm.solutions import ReadSolution, StepScores, checked, read_steps
from eduprm.serve.wire import Solution, SolutionResult

_KEPT_PROMPTS = 256  # solutions of one problem come together: its prompt is tokenised once


class QueueFullError(Exception):
    """The queue holds as much as it may; come again in `retry_after_s` seconds."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{waiting} solutions wait already")
        self.retry_after_s = retry_after_s


class StoppingError(Exception):
    """The service takes no more work."""


class ScoringError(Exception):
    """The model failed on a solution; the message is one line."""


@dataclass(eq=False, kw_only=True)
class Job:
    """Solutions of one request. `future` gets their results, or a `ScoringError`; `cancelled` ones are not computed."""

    solutions: Sequence[Solution]
    future: asyncio.Future[list[SolutionResult]]
    loop: asyncio.AbstractEventLoop
    results: list[SolutionResult | None]
    cancelled: bool = False

    def settle(self, index: int, result: SolutionResult) -> None:
        """Keep one result; the last completes the future."""
        self.results[index] = result
        if all(result is not None for result in self.results):
            self._complete(self.future.set_result, list(self.results))

    def fail(self, error: ScoringError) -> None:
        """Give the request up."""
        self.cancelled = True
        self._complete(self.future.set_exception, error)

    def _complete(self, setter: Any, value: Any) -> None:
        def set_once() -> None:
            if not self.future.done():
                setter(value)

        # A loop that is gone has nobody who waits.
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(set_once)


@dataclass(eq=False)
class _Item:
    """One solution of a job; `read` once it is tokenised."""

    job: Job
    index: int
    read: ReadSolution | None = field(default=None)


class Batcher:
    """The queue and its thread.

    Args:
        scorer: the PRM: `builder`, `score_ids`, `max_tokens` (`eduprm.prm.solutions.IdScorer`).
        batch_tokens: most tokens in a pack, prompts that solutions share counted once.
        queue_solutions: most solutions that wait.

    Attributes:
        num_scored: solutions so far.
        num_packs: packs so far.
    """

    def __init__(self, scorer: Any, *, batch_tokens: int, queue_solutions: int) -> None:
        self._scorer = scorer
        self._batch_tokens = batch_tokens
        self._most = queue_solutions
        self._waiting: deque[_Item] = deque()
        self._condition = threading.Condition()
        self._stopping = False
        self._prompts: dict[str, list[int]] = {}
        self._rate = 0.0  # solutions per second, as the last packs went
        self._thread = threading.Thread(target=self._run, name="prm", daemon=True)
        self.num_scored = self.num_packs = 0

    @property
    def num_waiting(self) -> int:
        """Solutions in the queue."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether the thread is there to do anything."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, *, wait_s: float) -> None:
        """Take no more work, and wait for what there is."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        self._thread.join(wait_s)

    def submit(self, solutions: Sequence[Solution]) -> Job:
        """Queue the solutions of a request; to be called in a running event loop.

        Raises:
            QueueFullError: there is no room for them now (a request larger than the queue waits until it is empty).
            StoppingError: the service is being stopped, or its thread died.
        """
        loop = asyncio.get_running_loop()
        job = Job(
            solutions=solutions, future=loop.create_future(), loop=loop, results=[None] * len(solutions)
        )
        with self._condition:
            if self._stopping or not self.alive:
                raise StoppingError("the service takes no more work")
            if self._waiting and len(self._waiting) + len(solutions) > self._most:
                raise QueueFullError(len(self._waiting), self._seconds_of_work())
            self._waiting.extend(_Item(job, index) for index in range(len(solutions)))
            self._condition.notify_all()
        return job

    def _seconds_of_work(self) -> int:
        return max(1, min(60, math.ceil(len(self._waiting) / self._rate))) if self._rate else 1

    def _run(self) -> None:
        while (pack := self._next_pack()) is not None:
            if pack:
                start_s = time.perf_counter()
                self._score(pack)
                rate = len(pack) / max(time.perf_counter() - start_s, 1e-9)
                self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
                self.num_packs += 1

    def _next_pack(self) -> list[_Item] | None:
        """Wait for work, and take as much of it as one pass may hold; None: stopped, and nothing left."""
        with self._condition:
            while not self._waiting and not self._stopping:
                self._condition.wait()
            if not self._waiting:
                return None
        pack: list[_Item] = []
        prompts: set[tuple[int, ...]] = set()
        tokens = 0
        while self._waiting:  # only this thread takes from it
            item = self._waiting[0]
            if item.job.cancelled or not self._prepare(item):
                self._waiting.popleft()
                continue
            if item.read is None:
                raise AssertionError("unreachable")
            prompt = tuple(item.read.ids[0])
            cost = item.read.num_tokens - (len(prompt) if prompt in prompts else 0)
            if pack and tokens + cost > self._batch_tokens:
                break
            pack.append(self._waiting.popleft())
            prompts.add(prompt)
            tokens += cost
        return pack

    def _prepare(self, item: _Item) -> bool:
        """Tokenise a solution once; False: it was refused."""
        if item.read is not None:
            return True
        solution = item.job.solutions[item.index]
        if len(self._prompts) >= _KEPT_PROMPTS:
            self._prompts.clear()
        try:
            read = read_steps(
                self._scorer,
                solution.problem,
                solution.steps,
                complete=solution.complete,
                as_cut=solution.as_cut,
                prompts=self._prompts,
            )
        except Exception as error:  # a fault of the builder's: it must not end the thread
            item.job.fail(ScoringError(f"{type(error).__name__}: {one_line(error)}"))
            return False
        if isinstance(read, StepScores):
            item.job.settle(item.index, SolutionResult(**read._asdict()))
            return False
        item.read = read
        return True

    def _score(self, pack: Sequence[_Item]) -> None:
        try:
            read = [item.read for item in pack if item.read is not None]
            scores = self._scorer.score_ids([one.ids for one in read])
        except Exception as error:  # out of memory, a broken device: it must not end the thread
            if len(pack) == 1:
                pack[0].job.fail(ScoringError(f"the PRM failed: {type(error).__name__}: {one_line(error)}"))
                return
            for item in pack:  # one request's solution must not fail another's
                if not item.job.cancelled:
                    self._score([item])
            return
        for item, one, values in zip(pack, read, scores, strict=True):
            self.num_scored += 1
            item.job.settle(item.index, SolutionResult(**checked(one, values)._asdict()))


def one_line(error: object) -> str:
    """An error's text as one short line, or its type if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
