"""One path being decoded, and the drawing of its tokens.

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
from eduprm.search.contract import Continuation, Finish, Request


@dataclass(slots=True, eq=False)
class Row:
    """A request on its way: prefix and new tokens, with the measurements of each new one."""

    request: Request
    answer: asyncio.Future[Continuation]
    tokens: list[int]
    cached_tokens: int
    generator: np.random.Generator | None
    measured: list[tuple[float, float, int, float]] = field(default_factory=list)

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

    def continuation(self, finish: Finish) -> Continuation:
        """The finished row as the contract's record."""
        logprobs, entropies, runner_ids, runner_logprobs = zip(*self.measured, strict=True)
        prefix_tokens = len(self.request.prefix_ids)
        return Continuation(
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


def next_tokens(logits: torch.Tensor, rows: list[Row]) -> list[tuple[int, Measured]]:
    """Each row's next token, greedy or drawn, with its measurements: one pass and one transfer for all.

    Args:
        logits: [rows, vocab], raw.
        rows: in the same order.

    Raises:
        ValueError: a row's logits are no distribution (NaN).
    """
    top = entropy_top2(logits)
    # A row of NaN has ids -1, at which nothing can be gathered; it is refused below, after the one transfer.
    top = top._replace(top_ids=top.top_ids.clamp_min(0))
    tokens = top.top_ids[:, 0].clone()
    drawn = [(index, row.generator) for index, row in enumerate(rows) if row.generator is not None]
    if drawn:
        at = [index for index, _ in drawn]
        uniforms = np.array([generator.random() for _, generator in drawn])
        tokens[at] = draw(logits[at], [rows[index].request.temperature for index in at], uniforms)
    normaliser = logits.gather(1, top.top_ids[:, :1]).float() - top.top_logprobs[:, :1]
    logprobs = (logits.gather(1, tokens[:, None]).float() - normaliser).squeeze(1)
    is_top = tokens == top.top_ids[:, 0]
    runner_ids = torch.where(is_top, top.top_ids[:, 1], top.top_ids[:, 0])
    runner_logprobs = torch.where(is_top, top.top_logprobs[:, 1], top.top_logprobs[:, 0])
    # One transfer: float64 holds token ids and float32 values alike, exactly.
    columns = (tokens, logprobs, top.entropy_nats, runner_ids, runner_logprobs)
    table = torch.stack([column.double() for column in columns], dim=1).tolist()
    broken = sum(math.isnan(entropy) for _, _, entropy, _, _ in table)
    if broken:
        raise ValueError(
            f"the model gave NaN logits in {broken} of {len(rows)} rows ({logits.dtype}): expected numbers; "
            "load it with dtype float32, or check its weights"
        )
    # Rounding may put a certain token's log-prob above 0, or its entropy below.
    return [
        (int(token), (min(logprob, 0.0), max(entropy, 0.0), int(runner), min(runner_logprob, 0.0)))
        for token, logprob, entropy, runner, runner_logprob in table
    ]


def draw(logits: torch.Tensor, temperatures: list[float], uniforms: NDArray[np.float64]) -> torch.Tensor:
    """Draw one token a row by inverting the cumulative distribution.

    One uniform number a token keeps a row's draws its own, whatever rows share the batch.

    Args:
        logits: [rows, vocab], any float dtype.
        temperatures: one a row, above 0.
        uniforms: [rows], in [0, 1).

    Returns:
        int64 token ids, [rows].
    """
    scale = torch.tensor(temperatures, dtype=torch.float64, device=logits.device)[:, None]
    cumulative = torch.softmax(logits.double() / scale, dim=-1).cumsum(dim=-1)
    targets = torch.as_tensor(uniforms, device=logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True).squeeze(1).clamp_max(logits.shape[1] - 1)
