"""Entropy, log-prob and runner-up of one sampling step: on the device, then to the host, then to the requests.

For: `plugin`, which calls `start` before SGLang samples and `finish` after it. What `finish` returns rides on
SGLang's auxiliary output: the scheduler copies it to pinned host memory on its copy stream with everything else
of the step (`copy_to_host`), waits for its event, commits the tokens, and calls `consume` with what it committed.
So there is one transfer per step and no wait of its own, with the overlap scheduler or without.
Does not know: how SGLang is hooked; it imports nothing of SGLang.
Source: sglang `sglang.srt.managers.auxiliary_output` (0.5.23).

Shapes: R rows (requests that asked) of a batch, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eduprm.entropy import EntropyTop2, entropy_top2
from eduprm.sglang.wire import FIELDS

logger = logging.getLogger(__name__)

#: Rows of a tile on a CPU. A step has few rows, and the default of one a tile takes nearly twice as long
#: (benchmarks/step.py).
CPU_CHUNK_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Statistics of the raw logits of one step, taken before anything changes them.

    Attributes:
        rows: batch rows of the requests that asked.
        index: int64 [R], the same on the device; None when these are all rows of the batch.
        logits: [R, V] raw logits that sampling will not change.
        top2: `entropy_top2` of them.
    """

    rows: tuple[int, ...]
    index: Tensor | None
    logits: Tensor
    top2: EntropyTop2


@torch.no_grad()
def start(logits: Tensor, rows: Sequence[int], *, will_change: bool) -> Started:
    """Read the raw logits of one step.

    Args:
        logits: [B, V] next-token logits as the model gave them.
        rows: which of the B rows asked; at least one, rising.
        will_change: sampling writes into `logits` (temperature, penalties, masks): keep a copy.
    """
    index = None
    if len(rows) < len(logits):
        on_host = torch.tensor(rows, dtype=torch.long, pin_memory=logits.is_cuda)
        index = on_host.to(logits.device, non_blocking=True)
        logits = logits.index_select(0, index)  # a copy already
    elif will_change:
        logits = logits.clone()
    chunk_rows = CPU_CHUNK_ROWS if logits.device.type == "cpu" else None
    top2 = entropy_top2(logits, chunk_rows=chunk_rows)
    return Started(rows=tuple(rows), index=index, logits=logits, top2=top2)


@torch.no_grad()
def finish(started: Started, token_ids: Tensor) -> DeviceStep:
    """Look up what was emitted, and pack all values into one tensor.

    Args:
        started: from `start`.
        token_ids: [B] sampled token of every row of the batch.
    """
    emitted = token_ids if started.index is None else token_ids.index_select(0, started.index)
    emitted = emitted.long()
    first, second = started.top2.top_ids.unbind(-1)
    first_logprob, second_logprob = started.top2.top_logprobs.unbind(-1)
    # A row without a distribution (NaN) has ids of -1: any index will do, the result is NaN through first_logprob.
    pair = torch.stack([emitted, first.clamp(min=0)], dim=-1)
    raw = started.logits.gather(-1, pair).to(torch.float32)
    logprob = raw[:, 0] - raw[:, 1] + first_logprob
    is_first = emitted == first
    runner_up = torch.where(is_first, second, first)
    runner_up_logprob = torch.where(is_first, second_logprob, first_logprob)
    floats = torch.stack([started.top2.entropy_nats, logprob, runner_up_logprob])
    ids = torch.stack([runner_up, emitted]).to(torch.int32)
    return DeviceStep(rows=started.rows, packed=torch.cat([floats.view(torch.int32), ids]))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStep:
    """Values of one step on the device (SGLang's `DeviceAuxiliaryOutput`).

    Attributes:
        rows: batch rows of the requests that asked.
        packed: int32 [5, R]: the bits of float32 entropy, log-prob, runner-up's log-prob; runner-up; emitted.
    """

    rows: tuple[int, ...]
    packed: Tensor

    def copy_to_host(self, copy_tensor: Callable[[Tensor], Tensor]) -> HostStep:
        """Start the step's only transfer; SGLang's `copy_tensor` does not wait for it."""
        return HostStep(rows=self.rows, packed=copy_tensor(self.packed))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStep:
    """The same on the host (SGLang's `HostAuxiliaryOutput`); see `DeviceStep`."""

    rows: tuple[int, ...]
    packed: Tensor

    def consume(self, batch: Any, commits: Sequence[Any]) -> None:
        """Append each value to its request, for the tokens that the scheduler committed.

        Args:
            batch: SGLang's ScheduleBatch of this step.
            commits: per request of the batch None (nothing committed: a prompt's middle chunk, a request that
                had ended or was retracted) or an object with `output_index` and `token_ids`.
        """
        floats = self.packed[:3].view(torch.float32).tolist()
        runner_ups, emitted = self.packed[3:].tolist()
        for slot, row in enumerate(self.rows):
            commit = commits[row]
            if commit is None:
                continue
            values = (floats[0][slot], floats[1][slot], runner_ups[slot], floats[2][slot])
            request = batch.reqs[row]
            if request.customized_info is None:
                request.customized_info = {}
            if tuple(commit.token_ids) == (emitted[slot],):
                _append(request.customized_info, commit.output_index, [values])
            else:
                _warn_once(f"tokens {commit.token_ids} were committed where {emitted[slot]} was sampled")
                blanks = [(None,) * len(FIELDS)] * len(commit.token_ids)
                _append(request.customized_info, commit.output_index, blanks)


def _append(info: dict[str, list], start: int, rows: Sequence[tuple]) -> None:
    """Put values at the output position they belong to; what lies before and was never seen becomes None."""
    for field, column in zip(FIELDS, zip(*rows, strict=True), strict=True):
        kept = info.setdefault(field, [])
        if len(kept) < start:
            _warn_once(f"output tokens {len(kept)} to {start - 1} of a request were not seen")
            kept.extend([None] * (start - len(kept)))
        # Longer when SGLang threw generated tokens away and started the request anew.
        kept[start:] = column


_warned: set[str] = set()


def _warn_once(text: str) -> None:
    kind = text.translate(str.maketrans("", "", "0123456789"))
    if kind not in _warned:
        _warned.add(kind)
        logger.warning("eduprm-sglang: %s; their values are null. Further cases are not logged.", text)
