"""Triton kernel: entropy statistics and the two likeliest tokens of rows of logits, read once.

For: CUDA tensors in float32, bfloat16 and float16; chosen by `token_entropy` and `entropy_top2`.
Does not know: how pieces are joined (`pieces` does that, in torch, for every path), leading dimensions.
Source: online softmax (Milakov and Gimelshein, arXiv 1805.02867), extended by the moment sum d e^d that entropy
needs. With d = logit - peak, log mass L = log(sum e^d) and entropy = L - (sum d e^d) / (sum e^d).

One program reads one split of one row, so that a small decode batch still fills the GPU. It keeps, per lane,
the mass, the moment and the two largest logits; lanes are reduced once, at the end. Importing this module
needs Triton.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from eduprm.entropy.pieces import Pieces

BLOCK = 1024  # lanes of a program: 8 logits per thread with 4 warps
WANTED_PROGRAMS = 1024  # a few for each multiprocessor of a large GPU
MAX_SPLITS = 64  # a row is cut no finer: joining has its price too


@triton.jit
def _pieces_kernel(  # type: ignore[no-untyped-def]  # Triton would compile the annotations
    logits_ptr,
    stats_ptr,  # float32 [N, S, 3]: peak, mass, moment
    values_ptr,  # float32 [N, S, 2]
    ids_ptr,  # int64 [N, S, 2]
    row_stride,
    token_stride,
    vocab_size,
    split_size,
    num_splits,
    TOP2: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    # 64-bit from here on: 20,000 rows of 152,064 logits already pass 2^31 elements.
    row = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    lanes = tl.arange(0, BLOCK)
    start = split * split_size
    stop = tl.minimum(start + split_size, vocab_size)
    neg_inf = float("-inf")

    peak = tl.full((), float("-inf"), tl.float32)
    mass = tl.zeros((BLOCK,), tl.float32)
    moment = tl.zeros((BLOCK,), tl.float32)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    next_best = tl.full((BLOCK,), float("-inf"), tl.float32)
    best_id = tl.zeros((BLOCK,), tl.int32) + vocab_size
    next_id = tl.zeros((BLOCK,), tl.int32) + vocab_size

    for offset in range(start, stop, BLOCK):
        tokens = offset + lanes
        address = logits_ptr + row * row_stride + tokens.to(tl.int64) * token_stride
        logit = tl.load(address, mask=tokens < stop, other=float("-inf")).to(tl.float32)

        new_peak = tl.maximum(peak, tl.max(logit, 0))
        origin = tl.where(new_peak == neg_inf, 0.0, new_peak)  # all masked so far: avoid -inf - -inf
        drop = tl.where(peak == neg_inf, 0.0, peak - origin)  # how far the earlier peak lies below
        scale = tl.where(peak == neg_inf, 0.0, tl.exp(drop))
        shift = logit - origin
        weight = tl.exp(shift)  # type: ignore[var-annotated, unused-ignore]
        moment = scale * (moment + drop * mass) + tl.where(shift == neg_inf, 0.0, weight * shift)
        mass = scale * mass + weight
        peak = new_peak

        if TOP2:
            # Strictly greater: among equals the earlier token, the lower id, stays ahead.
            wins = logit > best
            places = logit > next_best
            next_id = tl.where(wins, best_id, tl.where(places, tokens, next_id))
            next_best = tl.where(wins, best, tl.where(places, logit, next_best))
            best_id = tl.where(wins, tokens, best_id)
            best = tl.where(wins, logit, best)

    piece = row * num_splits + split
    tl.store(stats_ptr + piece * 3, peak)
    tl.store(stats_ptr + piece * 3 + 1, tl.sum(mass, 0))
    tl.store(stats_ptr + piece * 3 + 2, tl.sum(moment, 0))
    if TOP2:
        first = tl.max(best, 0)
        first_id = tl.min(tl.where(best == first, best_id, vocab_size), 0)
        # The winning lane offers its second; every other lane its first.
        winner = best_id == first_id
        rest = tl.where(winner, next_best, best)
        rest_id = tl.where(winner, next_id, best_id)
        second = tl.max(rest, 0)
        second_id = tl.min(tl.where(rest == second, rest_id, vocab_size), 0)
        tl.store(values_ptr + piece * 2, first)
        tl.store(values_ptr + piece * 2 + 1, second)
        tl.store(ids_ptr + piece * 2, first_id.to(tl.int64))
        tl.store(ids_ptr + piece * 2 + 1, second_id.to(tl.int64))


def num_splits_for(num_rows: int, vocab_size: int) -> int:
    """Return into how many pieces to cut each row: many for few rows, one for many."""
    wanted = -(-WANTED_PROGRAMS // max(num_rows, 1))
    return max(1, min(wanted, MAX_SPLITS, -(-vocab_size // (4 * BLOCK))))


def kernel_pieces(rows: Tensor, *, top2: bool, num_splits: int | None = None) -> Pieces:
    """Return the statistics of `rows` [N, V] in `num_splits` pieces per row; waits for nothing on the device.

    Extra memory: 44 bytes per piece.
    """
    num_rows, vocab_size = rows.shape
    splits = num_splits_for(num_rows, vocab_size) if num_splits is None else num_splits
    split_size = -(-vocab_size // splits)
    stats = rows.new_empty((num_rows, splits, 3), dtype=torch.float32)
    values = rows.new_empty((num_rows, splits, 2), dtype=torch.float32)
    ids = rows.new_empty((num_rows, splits, 2), dtype=torch.int64)
    if num_rows:
        with torch.cuda.device_of(rows):
            launch: Any = _pieces_kernel[(num_rows, splits)]
            launch(
                rows, stats, values, ids, *rows.stride(), vocab_size, split_size, splits,
                TOP2=top2, BLOCK=BLOCK, num_warps=4,
            )  # fmt: skip
    peak, mass, moment = stats.unbind(-1)
    log_mass = mass.log()
    entropy = log_mass - moment / mass
    return Pieces(peak, log_mass, entropy, values if top2 else None, ids if top2 else None)
