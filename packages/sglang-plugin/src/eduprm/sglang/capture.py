"""Entropy, log-prob and runner-up of one sampling step: on the device, then to the host, then to the requests.

`plugin` calls `measure` after SGLang sampled. What it returns rides on SGLang's auxiliary output: the scheduler copies
it to pinned host memory on its copy stream with everything else of the step (`copy_to_host`), waits for its event,
commits the tokens, and lets the step give each request its row (`take`). One call and one transfer a step, and no wait
of its own, with the overlap scheduler or without. While the batch stays the same a step costs nothing per row
(`traces`).

Imports nothing of SGLang. Source: sglang `sglang.srt.managers.auxiliary_output` (0.5.23).
Shapes: B rows of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from eduprm.entropy import sampled_entropy
from eduprm.sglang.traces import Run

#: Least rows, and logits, of a tile on a CPU. A step has few rows, and the default of one a tile of a large vocabulary
#: takes nearly twice as long (benchmarks/step.py).
CPU_CHUNK_ROWS, CPU_CHUNK_LOGITS = 8, 1 << 15


def measure(logits: Tensor, token_ids: Tensor) -> DeviceStep:
    """Return the values of all rows of a step.

    All rows, whoever asked: picking some would cost a transfer to the device, and they a launch more.

    Args:
        logits: [B, V] next-token logits as the model gave them.
        token_ids: [B] sampled tokens.
    """
    chunk_rows = None
    if logits.device.type == "cpu":
        chunk_rows = max(CPU_CHUNK_ROWS, CPU_CHUNK_LOGITS // logits.shape[-1])
    return DeviceStep(sampled_entropy(logits, token_ids, chunk_rows=chunk_rows))


@dataclass(slots=True)
class DeviceStep:
    """Values of one step on the device (SGLang's `DeviceAuxiliaryOutput`): int32 [B, 7] of `sampled_entropy`."""

    packed: Tensor

    def copy_to_host(self, copy_tensor: Callable[[Tensor], Tensor]) -> HostStep:
        """Start the step's only transfer; SGLang's `copy_tensor` does not wait for it."""
        return HostStep(copy_tensor(self.packed))


@dataclass(slots=True)
class HostStep:
    """The same on the host (SGLang's `HostAuxiliaryOutput`)."""

    packed: Tensor

    def take(self, batch: Any, starts: Sequence[int]) -> None:
        """Give each request that asked the row of the token that the scheduler committed, if it did.

        Args:
            batch: SGLang's ScheduleBatch of this step.
            starts: for each request of the batch the length of its `output_ids` before this step. Nothing was
                committed where it is the length after: a prompt's middle chunk, a request that had ended or was
                retracted.
        """
        global _run
        rows = self.packed.numpy().tobytes()
        if _run is None or not _run.extend(batch.reqs, rows):
            _run = Run(batch.reqs, rows, starts)

    def consume(self, batch: Any, commits: Sequence[Any]) -> None:
        """As `take`, where another plugin's output stands beside this one and SGLang has made its commits."""
        starts = [
            len(request.output_ids) if commit is None else commit.output_index
            for request, commit in zip(batch.reqs, commits, strict=True)
        ]
        self.take(batch, starts)


_run: Run | None = None  # of this process's scheduler
