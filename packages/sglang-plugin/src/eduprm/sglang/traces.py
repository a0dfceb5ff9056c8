"""The packed rows of each request's output tokens, put together when the request is answered.

From one decoding step to the next the batch mostly stays the same. Steps of the same requests, of which each commits
one token a step, are kept as one `Run`: a list of the steps' rows, and a reference to it and a row number in each
request's `Trace`. Nothing is done for a row of a step until SGLang cuts the trace for an answer; then it is one slice.

Imports nothing of SGLang, and knows of its requests `output_ids`, `customized_info` and `sampling_params`.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from eduprm.entropy import SAMPLED_WORDS
from eduprm.sglang.values import NULL_ROW, ROW_BYTES
from eduprm.sglang.wire import TRACE, asks_params

logger = logging.getLogger(__name__)


class Run:
    """Steps in which the same requests committed one token each."""

    __slots__ = ("_blocks", "_complete", "_folded", "_outputs", "_pending", "_requests", "_total")

    def __init__(self, requests: Sequence[Any], rows: bytes, starts: Sequence[int]) -> None:
        self._requests = list(requests)
        self._outputs = [request.output_ids for request in requests]
        self._total = sum(map(len, self._outputs))
        self._pending = [rows]
        self._blocks: list[tuple[int, np.ndarray]] = []  # number of the first step, rows [steps, B]
        self._folded = 0
        self._complete = self._total == sum(starts) + len(self._requests)
        for row, (request, output, start) in enumerate(zip(requests, self._outputs, starts, strict=True)):
            if len(output) != start and (trace := trace_of(request)) is not None:
                trace.add(start, self, row, output)

    def extend(self, requests: Sequence[Any], rows: bytes) -> bool:
        """Take a further step if it is one of this run, else return False."""
        if not self._complete or len(requests) != len(self._requests):
            return False
        if not all(map(operator.is_, requests, self._requests)):
            return False
        total = sum(map(len, self._outputs))
        # A request that had ended, was retracted or begun anew did not grow by one.
        if total != self._total + len(requests):
            return False
        self._total = total
        self._pending.append(rows)
        return True

    def rows(self, row: int, first: int) -> bytes:
        """Return the packed rows of one request from step `first` on."""
        if self._pending:
            steps = np.frombuffer(b"".join(self._pending), f"V{ROW_BYTES}")
            self._blocks.append((self._folded, steps.reshape(len(self._pending), -1)))
            self._folded += len(self._pending)
            self._pending = []
        found = []
        for begin, block in reversed(self._blocks):
            found.append(block[max(first - begin, 0) :, row].tobytes())
            if begin <= first:
                break
        return b"".join(reversed(found))


class Trace:
    """The packed rows of one request's output tokens so far; the value of `TRACE` in its `customized_info`.

    SGLang cuts what it sends by output position: a slice is one block of bytes in a list.
    """

    __slots__ = ("_parts", "_rows")

    def __init__(self) -> None:
        self._rows = bytearray()
        self._parts: list[list[Any]] = []

    def add(self, start: int, run: Run, row: int, output_ids: Sequence[int]) -> None:
        """Begin a part: the tokens from output position `start` on are row `row` of the steps of `run`."""
        self._parts.append([start, run, row, output_ids, 0])

    def __getitem__(self, positions: slice) -> list[bytes]:
        for part in self._parts:
            start, run, row, output_ids, done = part
            rows = run.rows(row, done)
            part[4] += len(rows) // ROW_BYTES
            self._put(start + done, rows, output_ids)
        del self._parts[:-1]  # the last may go on
        found = bytes(self._rows[positions.start * ROW_BYTES : positions.stop * ROW_BYTES])
        missing = positions.stop - positions.start - len(found) // ROW_BYTES
        if missing > 0:
            _warn_once(f"{missing} output tokens of a request were not seen")
        return [found + NULL_ROW * missing]

    def _put(self, start: int, rows: bytes, output_ids: Sequence[int]) -> None:
        """Put rows at the output position they belong to; what lies before and was never seen is null."""
        known = len(self._rows) // ROW_BYTES
        if known < start:
            _warn_once(f"output tokens {known} to {start - 1} of a request were not seen")
            self._rows += NULL_ROW * (start - known)
        # Longer when SGLang threw generated tokens away and started the request anew.
        del self._rows[start * ROW_BYTES :]
        sampled = np.frombuffer(rows, np.int32)[SAMPLED_WORDS - 1 :: SAMPLED_WORDS]
        committed = np.array(output_ids[start : start + len(sampled)], np.int64)
        self._rows += rows[: len(committed) * ROW_BYTES]
        for at in np.flatnonzero(sampled[: len(committed)] != committed):
            _warn_once(f"token {committed[at]} was committed where {sampled[at]} was sampled")
            begin = (start + int(at)) * ROW_BYTES
            self._rows[begin : begin + ROW_BYTES] = NULL_ROW


def trace_of(request: Any) -> Trace | None:
    """Return the request's trace, a new one where it asks and has none yet, None where it does not ask."""
    info = request.customized_info
    if info is not None and TRACE in info:
        return info[TRACE]
    if not asks_params(request.sampling_params.custom_params):
        return None
    trace = Trace()
    request.customized_info = {**(info or {}), TRACE: trace}
    return trace


_warned: set[str] = set()


def _warn_once(text: str) -> None:
    kind = text.translate(str.maketrans("", "", "0123456789"))
    if kind not in _warned:
        _warned.add(kind)
        logger.warning("eduprm-sglang: %s; their values are null. Further cases are not logged.", text)
