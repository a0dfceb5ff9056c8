"""Entropy, log-prob and runner-up of one sampling step: on the device, then to the host, then to the requests.

`plugin` calls `measure` after SGLang sampled. What it returns rides on SGLang's auxiliary output: the scheduler copies
it to pinned host memory on its copy stream with everything else of the step (`copy_to_host`), waits for its event,
commits the tokens, and lets the step give each request its row (`take`). One call and one transfer a step, and no wait
of its own, with the overlap scheduler or without; a row costs a copy of 28 bytes. What the bytes mean is made out when
a request is answered, in the tokenizer manager (`values`).

Imports nothing of SGLang. Source: sglang `sglang.srt.managers.auxiliary_output` (0.5.23).
Shapes: B rows of a batch, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from eduprm.entropy import sampled_entropy
from eduprm.sglang.values import NULL_ROW, ROW_BYTES
from eduprm.sglang.wire import TRACE, asks_params

logger = logging.getLogger(__name__)

#: Rows of a tile on a CPU. A step has few rows, and the default of one a tile takes nearly twice as long
#: (benchmarks/step.py).
CPU_CHUNK_ROWS = 8


def measure(logits: Tensor, token_ids: Tensor) -> DeviceStep:
    """Return the values of all rows of a step.

    All rows, whoever asked: picking some would cost a transfer to the device, and they a launch more.

    Args:
        logits: [B, V] next-token logits as the model gave them.
        token_ids: [B] sampled tokens.
    """
    chunk_rows = CPU_CHUNK_ROWS if logits.device.type == "cpu" else None
    return DeviceStep(sampled_entropy(logits, token_ids, chunk_rows=chunk_rows))


@dataclass(slots=True)
class DeviceStep:
    """Values of one step on the device (SGLang's `DeviceAuxiliaryOutput`): int32 [B, 7] of `sampled_entropy`."""

    packed: Tensor

    def copy_to_host(self, copy_tensor: Callable[[Tensor], Tensor]) -> HostStep:
        """Start the step's only transfer; SGLang's `copy_tensor` does not wait for it."""
        return HostStep(copy_tensor(self.packed))


class Trace:
    """The rows of one request's output tokens so far, as bytes; the value of `TRACE` in its `customized_info`.

    SGLang cuts what it sends by output position: a slice is one block of bytes in a list.
    """

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = bytearray()

    def __getitem__(self, positions: slice) -> list[bytes]:
        return [bytes(self.rows[positions.start * ROW_BYTES : positions.stop * ROW_BYTES])]

    def put(self, start: int, rows: bytes) -> None:
        """Put rows at the output position they belong to; what lies before and was never seen is null."""
        known = len(self.rows) // ROW_BYTES
        if known < start:
            _warn_once(f"output tokens {known} to {start - 1} of a request were not seen")
            self.rows += NULL_ROW * (start - known)
        # Longer when SGLang threw generated tokens away and started the request anew.
        self.rows[start * ROW_BYTES :] = rows


@dataclass(slots=True)
class HostStep:
    """The same on the host (SGLang's `HostAuxiliaryOutput`)."""

    packed: Tensor

    def take(self, batch: Any, starts: Sequence[int]) -> None:
        """Give each request that asked the row of the token that the scheduler committed, if it did.

        Args:
            batch: SGLang's ScheduleBatch of this step.
            starts: for each request of the batch the length of its output before this step. Nothing was committed
                where it is the length after: a prompt's middle chunk, a request that had ended or was retracted.
        """
        packed = self.packed.numpy()
        raw, tokens = packed.tobytes(), packed[:, -1].tolist()
        for row, request in enumerate(batch.reqs):
            stop = request.finished_len
            if stop is None:
                stop = len(request.output_ids)
            start = starts[row]
            if stop == start:
                continue
            info = request.customized_info
            if info is not None and TRACE in info:
                trace = info[TRACE]
            elif asks_params(request.sampling_params.custom_params):
                trace = Trace()
                request.customized_info = {**(info or {}), TRACE: trace}
            else:
                continue
            values = raw[row * ROW_BYTES : (row + 1) * ROW_BYTES]
            if stop > start + 1 or request.output_ids[start] != tokens[row]:
                committed = list(request.output_ids[start:stop])
                _warn_once(f"tokens {committed} were committed where {tokens[row]} was sampled")
                values = NULL_ROW * (stop - start)
            if len(trace.rows) == start * ROW_BYTES:
                trace.rows += values
            else:
                trace.put(start, values)

    def consume(self, batch: Any, commits: Sequence[Any]) -> None:
        """As `take`, where another plugin's output stands beside this one and SGLang has made its commits."""
        lengths = (len(request.output_ids) for request in batch.reqs)
        ends = (
            length if request.finished_len is None else request.finished_len
            for request, length in zip(batch.reqs, lengths, strict=True)
        )
        self.take(
            batch,
            [end if one is None else one.output_index for one, end in zip(commits, ends, strict=True)],
        )


_warned: set[str] = set()


def _warn_once(text: str) -> None:
    kind = text.translate(str.maketrans("", "", "0123456789"))
    if kind not in _warned:
        _warned.add(kind)
        logger.warning("eduprm-sglang: %s; their values are null. Further cases are not logged.", text)
