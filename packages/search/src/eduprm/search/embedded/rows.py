"""One request being decoded, and the drawing of its tokens.

A row knows its tokens and what was measured at each; it does not know where its keys and values lie.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from eduprm.entropy import entropy_top2
from eduprm.search.contract import Completion, Finish, Request


@dataclass(slots=True, eq=False)
class Row:
    """A request on its way: prefix and new tokens, with the measurements of each new one."""

    request: Request
    answer: asyncio.Future[Completion]
    tokens: list[int]
    cached_tokens: int
    generator: np.random.Generator | None
    measured: list[tuple[float, float, int, float]] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, answer: asyncio.Future[Completion]) -> Row:
        """A request that has no token yet."""
        seeded = np.random.Generator(np.random.Philox(request.seed)) if request.temperature > 0 else None
        return cls(request, answer, list(request.prefix_ids), 0, seeded)

    def agrees_with(self, other: Row) -> bool:
        """Whether both belong to one group and have the same tokens so far, so that one forward serves both."""
        return self.request.group == other.request.group and self.tokens == other.tokens

    @property
    def num_new(self) -> int:
        """Tokens decoded so far."""
        return len(self.measured)

    def add(self, token: int, measured: tuple[float, float, int, float]) -> None:
        """Append a token with (log-prob, entropy, runner-up id, runner-up log-prob)."""
        self.tokens.append(token)
        self.measured.append(measured)

    def finish(self, stop_ids: frozenset[int]) -> Finish | None:
        """Why the path has ended, or None while it goes on."""
        if self.num_new and self.tokens[-1] in stop_ids:
            return "stop"
        return "length" if self.num_new >= self.request.max_new_tokens else None

    def completion(self, finish: Finish) -> Completion:
        """The finished row as the contract's record."""
        logprobs, entropies, runner_ids, runner_logprobs = zip(*self.measured, strict=True)
        prefix_tokens = len(self.request.prefix_ids)
        return Completion(
            token_ids=np.asarray(self.tokens[prefix_tokens:], dtype=np.int32),
            logprobs=np.asarray(logprobs, dtype=np.float32),
            entropies=np.asarray(entropies, dtype=np.float32),
            runner_up_ids=np.asarray(runner_ids, dtype=np.int32),
            runner_up_logprobs=np.asarray(runner_logprobs, dtype=np.float32),
            finish=finish,
            prefix_tokens=prefix_tokens,
            cached_tokens=self.cached_tokens,
        )


Measured = tuple[float, float, int, float]
"""Log-prob, entropy (nats), runner-up id and its log-prob, of one token."""


def next_tokens(logits: torch.Tensor, running: list[list[Row]]) -> list[list[tuple[int, Measured]]]:
    """The next token of every row, greedy or drawn, with its measurements: one pass and one transfer for all.

    Args:
        logits: [slots, vocab], raw.
        running: per slot, the rows that its logits are for.

    Raises:
        ValueError: a slot's logits are no distribution (NaN).
    """
    rows = [row for own in running for row in own]
    slots = [slot for slot, own in enumerate(running) for _ in own]
    at = torch.tensor(slots, device=logits.device)
    top = entropy_top2(logits)
    # A row of NaN has ids -1, at which nothing can be gathered; it is refused below, after the one transfer.
    top_ids = top.top_ids.clamp_min(0)
    normaliser = (logits.gather(1, top_ids[:, :1]).float() - top.top_logprobs[:, :1]).squeeze(1)[at]
    top_ids, top_logprobs = top_ids[at], top.top_logprobs[at]
    tokens = top_ids[:, 0].clone()
    drawn = [(index, row.generator) for index, row in enumerate(rows) if row.generator is not None]
    if drawn:
        which = [index for index, _ in drawn]
        uniforms = np.array([generator.random() for _, generator in drawn])
        heats = [rows[index].request.temperature for index in which]
        tokens[which] = draw(logits, [slots[index] for index in which], heats, uniforms)
    logprobs = logits[at, tokens].float() - normaliser
    is_top = tokens == top_ids[:, 0]
    runner_ids = torch.where(is_top, top_ids[:, 1], top_ids[:, 0])
    runner_logprobs = torch.where(is_top, top_logprobs[:, 1], top_logprobs[:, 0])
    # One transfer: float64 holds token ids and float32 values alike, exactly.
    columns = (tokens, logprobs, top.entropy_nats[at], runner_ids, runner_logprobs)
    table = torch.stack([column.double() for column in columns], dim=1).tolist()
    broken = len({slot for slot, line in zip(slots, table, strict=True) if math.isnan(line[2])})
    if broken:
        raise ValueError(
            f"the model gave NaN logits in {broken} of {len(running)} rows ({logits.dtype}): expected numbers; "
            "load it with dtype float32, or check its weights"
        )
    found: list[list[tuple[int, Measured]]] = [[] for _ in running]
    for slot, (token, logprob, entropy, runner, runner_logprob) in zip(slots, table, strict=True):
        # Rounding may put a certain token's log-prob above 0, or its entropy below.
        measured = (min(logprob, 0.0), max(entropy, 0.0), int(runner), min(runner_logprob, 0.0))
        found[slot].append((int(token), measured))
    return found


def draw(
    logits: torch.Tensor, slots: list[int], temperatures: list[float], uniforms: NDArray[np.float64]
) -> torch.Tensor:
    """Draw tokens by inverting the cumulative distribution, each distribution computed once.

    One uniform number a token keeps a request's draws its own, whatever others share its row or batch.

    Args:
        logits: [slots, vocab], any float dtype.
        slots: per token, the row of `logits` that it is drawn from.
        temperatures: per token, above 0.
        uniforms: per token, in [0, 1).

    Returns:
        int64 token ids, one per token asked for.
    """
    places = {key: number for number, key in enumerate(dict.fromkeys(zip(slots, temperatures, strict=True)))}
    device = logits.device
    scale = torch.tensor([heat for _, heat in places], dtype=torch.float64, device=device)[:, None]
    own = logits[[slot for slot, _ in places]].double()
    # Below 0 before the division, which may overflow at a temperature near 0.
    cumulative = torch.softmax((own - own.amax(-1, keepdim=True)) / scale, dim=-1).cumsum(dim=-1)
    wanted: list[list[float]] = [[] for _ in places]
    where = []
    for key, uniform in zip(zip(slots, temperatures, strict=True), uniforms.tolist(), strict=True):
        where.append((places[key], len(wanted[places[key]])))
        wanted[places[key]].append(uniform)
    width = max(map(len, wanted))
    padded = torch.tensor([[*some, *[0.0] * (width - len(some))] for some in wanted], dtype=torch.float64)
    targets = padded.to(device) * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, targets, right=True).clamp_max(logits.shape[1] - 1)
    return found[tuple(torch.tensor(where, device=device).T)]
