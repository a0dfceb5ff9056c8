"""What is known of a row of logits after reading pieces of its vocabulary, and how pieces are joined.

For the torch path, the Triton kernel and the LM-head path, which all read the vocabulary in pieces.
Source: the chain rule of entropy. With q_s the probability that the next token falls in piece s and H_s the
entropy inside the piece, the entropy of the whole is `sum_s q_s H_s + H(q)`. Every term is non-negative, so
joining loses no digits to cancellation.

Shape suffixes: N rows, S pieces of a row, C candidates for its top two.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEG_INF = float("-inf")


class Pieces(NamedTuple):
    """Statistics of S pieces of N rows, float32 or float64; ids count in the whole vocabulary.

    A piece whose logits are all -inf has `peak` -inf and may hold anything in `log_mass` and `entropy`.
    """

    peak: Tensor  # [N, S] largest logit
    log_mass: Tensor  # [N, S] log of sum exp(logit - peak)
    entropy: Tensor  # [N, S] nats, of the piece's own softmax
    values: Tensor | None  # [N, C, 2] largest logits, best first; C is S, or 1 where they are joined already
    ids: Tensor | None  # [N, C, 2] int64, their token ids


class RowStats(NamedTuple):
    """Finished statistics of N whole rows."""

    entropy: Tensor  # [N] nats
    top_ids: Tensor | None  # [N, 2] int64
    top_logprobs: Tensor | None  # [N, 2] nats


def pick_two(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two largest of `values` [N, C] and their `ids` [N, C], the lower id first among equals.

    `ids` must rise along C wherever values can tie, since argmax takes the first of equal values. The id of a
    runner-up of -inf means nothing: argmax may land on the winner again. `finish` replaces it.
    """
    if values.shape[-1] < 2:
        raise ValueError(f"expected at least 2 candidates per row to pick two from, got {values.shape[-1]}")
    first = values.argmax(-1, keepdim=True)
    rest = values.scatter(-1, first, NEG_INF)
    second = rest.argmax(-1, keepdim=True)
    both = torch.cat([values.gather(-1, first), rest.gather(-1, second)], -1)
    return both, torch.cat([ids.gather(-1, first), ids.gather(-1, second)], -1)


def finish(pieces: Pieces) -> RowStats:
    """Join the pieces of each row. Rows without a distribution (NaN, +inf, or only -inf) become NaN, ids -1."""
    if pieces.peak.shape[1] == 1:
        peak, log_mass, entropy = pieces.peak[:, 0], pieces.log_mass[:, 0], pieces.entropy[:, 0]
    else:
        peak, log_mass, entropy = _join(pieces)
    # Rounding may give -1e-8 where one token holds all the mass; adding 0 turns -0.0 into 0.0.
    entropy = entropy.clamp(min=0.0) + 0.0
    if pieces.values is None or pieces.ids is None:
        return RowStats(entropy.float(), None, None)
    values, ids = pieces.values.flatten(1), pieces.ids.flatten(1)
    if pieces.values.shape[1] > 1:
        values, ids = pick_two(values, ids)
    # A runner-up of -inf ties with every other token: the lowest id that is not the winner's.
    lowest_other = (ids[:, 0] == 0).to(ids.dtype)
    ids = torch.stack([ids[:, 0], torch.where(values[:, 1] == NEG_INF, lowest_other, ids[:, 1])], -1)
    logprobs = (values.to(peak.dtype) - peak[:, None]) - log_mass[:, None]
    broken = entropy.isnan()[:, None]
    ids, logprobs = ids.masked_fill(broken, -1), logprobs.masked_fill(broken, float("nan"))
    return RowStats(entropy.float(), ids, logprobs.float())


def _join(pieces: Pieces) -> tuple[Tensor, Tensor, Tensor]:
    """Return peak, log mass and entropy [N] of whole rows."""
    peak = pieces.peak.amax(1)
    log_weight = (pieces.peak - peak[:, None]) + pieces.log_mass
    # A masked piece weighs nothing, whatever stands in its other fields; a row with no other piece stays
    # NaN, because then the largest weight is -inf too.
    log_weight = log_weight.masked_fill(pieces.peak == NEG_INF, NEG_INF)
    top = log_weight.amax(1, keepdim=True)
    log_mass = top + (log_weight - top).exp().sum(1, keepdim=True).log()
    log_share = log_weight - log_mass
    share = log_share.exp()
    terms = share * (pieces.entropy - log_share)
    return peak, log_mass[:, 0], terms.masked_fill(share == 0, 0.0).sum(1)
