"""Triton kernels: entropy, the two likeliest tokens and a sampled token's log-prob of rows of logits, in two launches.

Importing this module needs Triton. Source: online softmax (Milakov and Gimelshein, arXiv 1805.02867), extended by
the moment sum d e^d that entropy needs. With d = logit - peak, log mass L = log(sum e^d) and entropy = L - (sum d
e^d) / (sum e^d).

First launch, one program per split of a row: each lane of a tile [LANES, CHUNK] holds CHUNK neighbouring tokens, and
keeps over all tiles its own peak, mass and moment and the two chunks with the largest maxima; a logit costs one
exponential and no exchange between threads. Lanes are reduced once, at the end of the program. Second launch, one
program per row: joins the splits, reads the two best chunks of the row again (the winner is in the chunk with the
largest maximum, the runner-up in that chunk or the next best one) and the logit of the sampled token, and writes what
the caller wants. No operation of torch stands before, between or after but the allocation of the outputs, and none
where the caller passes them.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

LANES, WARPS = 256, 4  # two chunks in flight for every thread
STAGES = 1  # tiles that are fetched ahead through shared memory; 1 leaves it to the number of programs
WANTED_PROGRAMS = 4096  # several waves on a large GPU, so that none waits long for the last
MAX_SPLITS = 64  # a power of two; a row is cut no finer: joining has its price too
PIECE_WORDS = 6  # int32 of scratch for a split: peak, mass, moment, next best maximum; the two chunks
SAMPLED_WORDS = 7  # int32 a row of `sampled`'s result
_LOWEST = tl.constexpr(-3.4028234663852886e38)  # finite, so that a difference of peaks is never NaN
_FLOOR = tl.constexpr(
    -1000.0
)  # 0 * FLOOR is 0 where 0 * -inf is NaN; no probability is above 0 so far below a peak
_NONE = tl.constexpr(2147483647)  # no chunk, no token


@triton.jit
def _plain_exp(x):  # type: ignore[no-untyped-def]
    return tl.exp(x)


@triton.jit
def _flushed_exp(x):  # type: ignore[no-untyped-def]
    """exp without the three instructions that keep results below 1e-38, for which no sum here has digits."""
    return tl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x * 1.4426950408889634], dtype=tl.float32, is_pure=True, pack=1
    )


# Triton's interpreter knows no assembler.
_exp = _plain_exp if os.environ.get("TRITON_INTERPRET") == "1" else _flushed_exp


@triton.jit
def _fold(x, chunk, mass, moment, best, best_chunk, second, second_chunk):  # type: ignore[no-untyped-def]
    """Take a tile [LANES, CHUNK] into the state of the lanes."""
    top = tl.max(x, 1)
    before = tl.maximum(best, _LOWEST)
    peak = tl.maximum(before, top)
    # Maxima that keep NaN: a NaN, or inf - inf, has to reach the mass.
    drop = tl.maximum(before - peak, _FLOOR, propagate_nan=tl.PropagateNan.ALL)
    scale = _exp(drop)
    shift = tl.maximum(x - peak[:, None], _FLOOR, propagate_nan=tl.PropagateNan.ALL)
    weight = _exp(shift)
    moment = scale * (moment + drop * mass) + tl.sum(weight * shift, 1)
    mass = scale * mass + tl.sum(weight, 1)
    # Strictly greater: among equals the earlier chunk, the lower ids, stays ahead.
    wins = top > best
    second_chunk = tl.where(wins, best_chunk, tl.where(top > second, chunk, second_chunk))
    second = tl.maximum(second, tl.minimum(best, top))
    best_chunk = tl.where(wins, chunk, best_chunk)
    best = tl.maximum(best, top)
    return mass, moment, best, best_chunk, second, second_chunk


@triton.jit
def _two(values, ids):  # type: ignore[no-untyped-def]
    """The two largest of `values`, the lower id first among equals; ids are distinct but for _NONE."""
    first = tl.max(values, 0)
    first_id = tl.min(tl.where(values == first, ids, _NONE), 0)
    rest = tl.where(ids == first_id, float("-inf"), values)
    second = tl.max(rest, 0)
    second_id = tl.min(tl.where((rest == second) & (ids != first_id), ids, _NONE), 0)
    return first, first_id, second, second_id


@triton.jit(do_not_specialize=["split_tiles", "num_splits", "scratch_ptr"])
def _read(  # type: ignore[no-untyped-def]  # Triton would compile the annotations
    logits_ptr,
    scratch_ptr,  # int32 [N, S, PIECE_WORDS]
    row_stride,
    token_stride,
    vocab_size,
    split_tiles,
    num_splits,
    LANES: tl.constexpr,  # noqa: N803
    CHUNK: tl.constexpr,  # noqa: N803
    STAGES: tl.constexpr,  # noqa: N803
):
    # 64-bit from here on: 20,000 rows of 152,064 logits already pass 2^31 elements.
    row = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    lanes = tl.arange(0, LANES)
    inside = lanes[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    base = logits_ptr + row * row_stride
    full = vocab_size // (LANES * CHUNK)
    stop = tl.minimum((split + 1) * split_tiles, full)

    mass = tl.zeros((LANES,), tl.float32)
    moment = tl.zeros((LANES,), tl.float32)
    best = tl.full((LANES,), float("-inf"), tl.float32)
    second = tl.full((LANES,), float("-inf"), tl.float32)
    best_chunk = tl.full((LANES,), _NONE, tl.int32)
    second_chunk = tl.full((LANES,), _NONE, tl.int32)
    for tile in tl.range(split * split_tiles, stop, num_stages=STAGES):
        tokens = tile * (LANES * CHUNK) + inside
        x = tl.load(base + tokens.to(tl.int64) * token_stride).to(tl.float32)
        mass, moment, best, best_chunk, second, second_chunk = _fold(
            x, tile * LANES + lanes, mass, moment, best, best_chunk, second, second_chunk
        )
    if (split == num_splits - 1) & (full * (LANES * CHUNK) < vocab_size):
        tokens = full * (LANES * CHUNK) + inside
        address = base + tokens.to(tl.int64) * token_stride
        x = tl.load(address, mask=tokens < vocab_size, other=float("-inf")).to(tl.float32)
        mass, moment, best, best_chunk, second, second_chunk = _fold(
            x, full * LANES + lanes, mass, moment, best, best_chunk, second, second_chunk
        )

    peaks = tl.maximum(best, _LOWEST)
    peak = tl.max(peaks, 0)
    drop = tl.maximum(peaks - peak, _FLOOR, propagate_nan=tl.PropagateNan.ALL)
    scale = _exp(drop)
    # The winning lane offers its second chunk; every other lane its first.
    first = tl.max(best, 0)
    first_chunk = tl.min(tl.where(best == first, best_chunk, _NONE), 0)
    winner = best_chunk == first_chunk
    rest = tl.where(winner, second, best)
    next_best = tl.max(rest, 0)
    next_chunk = tl.min(tl.where(rest == next_best, tl.where(winner, second_chunk, best_chunk), _NONE), 0)
    piece = scratch_ptr + (row * num_splits + split) * 6
    tl.store(piece, first.to(tl.int32, bitcast=True))
    tl.store(piece + 1, tl.sum(scale * mass, 0).to(tl.int32, bitcast=True))
    tl.store(piece + 2, tl.sum(scale * (moment + drop * mass), 0).to(tl.int32, bitcast=True))
    tl.store(piece + 3, next_best.to(tl.int32, bitcast=True))
    tl.store(piece + 4, first_chunk)
    tl.store(piece + 5, next_chunk)


@triton.jit(
    do_not_specialize=["num_splits", "scratch_ptr", "token_ptr", "out_ptr", "ids_ptr", "logprobs_ptr"]
)
def _join(  # type: ignore[no-untyped-def]
    logits_ptr,
    scratch_ptr,
    token_ptr,  # int [N], with SAMPLED
    out_ptr,  # float32 [N] entropies; with SAMPLED int32 [N, SAMPLED_WORDS]
    ids_ptr,  # int64 [N, 2], without SAMPLED
    logprobs_ptr,  # float32 [N, 2], without SAMPLED
    row_stride,
    token_stride,
    vocab_size,
    num_splits,
    CHUNK: tl.constexpr,  # noqa: N803
    SPLITS: tl.constexpr,  # noqa: N803
    SAMPLED: tl.constexpr,  # noqa: N803
):
    row = tl.program_id(0).to(tl.int64)
    splits = tl.arange(0, SPLITS)
    here = splits < num_splits
    piece = scratch_ptr + (row * num_splits + splits) * 6
    lowest = tl.full((SPLITS,), float("-inf"), tl.float32).to(tl.int32, bitcast=True)
    best = tl.load(piece, mask=here, other=lowest).to(tl.float32, bitcast=True)
    mass = tl.load(piece + 1, mask=here, other=0).to(tl.float32, bitcast=True)
    moment = tl.load(piece + 2, mask=here, other=0).to(tl.float32, bitcast=True)
    second = tl.load(piece + 3, mask=here, other=lowest).to(tl.float32, bitcast=True)
    best_chunk = tl.load(piece + 4, mask=here, other=_NONE)
    second_chunk = tl.load(piece + 5, mask=here, other=_NONE)

    peaks = tl.maximum(best, _LOWEST)
    peak = tl.max(peaks, 0)
    drop = tl.maximum(peaks - peak, _FLOOR, propagate_nan=tl.PropagateNan.ALL)
    scale = _exp(drop)
    total = tl.sum(scale * mass, 0)
    log_mass = tl.log(total)  # type: ignore[var-annotated, unused-ignore]
    entropy = log_mass - tl.sum(scale * (moment + drop * mass), 0) / total
    broken = (entropy != entropy) | (total == 0.0)
    # Rounding may give -1e-8 where one token holds all the mass.
    entropy = tl.where(broken, float("nan"), tl.where(entropy <= 0.0, 0.0, entropy))

    first = tl.max(best, 0)
    chunk_1 = tl.min(tl.where(best == first, best_chunk, _NONE), 0)
    winner = best_chunk == chunk_1
    rest = tl.where(winner, second, best)
    chunk_2 = tl.min(tl.where(rest == tl.max(rest, 0), tl.where(winner, second_chunk, best_chunk), _NONE), 0)
    slots = tl.arange(0, 2 * CHUNK)
    chunk = tl.where(slots < CHUNK, chunk_1, chunk_2)
    known = chunk != _NONE
    ids = tl.where(known, chunk, 0) * CHUNK + slots % CHUNK
    known = known & (ids < vocab_size)
    base = logits_ptr + row * row_stride
    x = tl.load(base + ids.to(tl.int64) * token_stride, mask=known, other=float("-inf")).to(tl.float32)
    value_1, id_1, value_2, id_2 = _two(x, tl.where(known, ids, _NONE))
    # A runner-up of -inf ties with every other token: the lowest id that is not the winner's.
    id_2 = tl.where(value_2 == float("-inf"), tl.where(id_1 == 0, 1, 0), id_2)
    id_1 = tl.where(broken, -1, id_1)
    id_2 = tl.where(broken, -1, id_2)
    logprob_1 = tl.where(broken, float("nan"), value_1 - peak - log_mass)
    logprob_2 = tl.where(broken, float("nan"), value_2 - peak - log_mass)
    if SAMPLED:
        token = tl.load(token_ptr + row)
        value = tl.load(base + token.to(tl.int64) * token_stride).to(tl.float32)
        logprob = tl.where(broken, float("nan"), value - peak - log_mass)
        out = out_ptr + row * 7
        tl.store(out, entropy.to(tl.int32, bitcast=True))
        tl.store(out + 1, logprob.to(tl.int32, bitcast=True))
        tl.store(out + 2, logprob_1.to(tl.int32, bitcast=True))
        tl.store(out + 3, logprob_2.to(tl.int32, bitcast=True))
        tl.store(out + 4, id_1)
        tl.store(out + 5, id_2)
        tl.store(out + 6, token.to(tl.int32))
    else:
        tl.store(out_ptr + row, entropy)
        tl.store(ids_ptr + row * 2, id_1.to(tl.int64))
        tl.store(ids_ptr + row * 2 + 1, id_2.to(tl.int64))
        tl.store(logprobs_ptr + row * 2, logprob_1)
        tl.store(logprobs_ptr + row * 2 + 1, logprob_2)


class Cut(NamedTuple):
    """How rows are cut: tokens of a lane's chunk, tiles of a split, splits of a row."""

    chunk: int
    split_tiles: int
    num_splits: int


def cut_rows(num_rows: int, vocab_size: int, element_size: int) -> Cut:
    """Cut few rows into many splits, so that a decode batch fills the GPU, and many rows into few."""
    chunk = 16 // element_size  # what a thread loads at once
    tiles = max(1, vocab_size // (LANES * chunk))
    wanted = min(-(-WANTED_PROGRAMS // max(num_rows, 1)), MAX_SPLITS, tiles)
    split_tiles = -(-tiles // wanted)
    return Cut(chunk, split_tiles, -(-tiles // split_tiles))


def scratch_words(num_rows: int, vocab_size: int, element_size: int) -> int:
    """Return the int32 elements of scratch that a call for these rows needs."""
    return num_rows * cut_rows(num_rows, vocab_size, element_size).num_splits * PIECE_WORDS


def top2(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return entropies float32 [N], ids int64 [N, 2] and log-probs float32 [N, 2] of `rows` [N, V].

    Waits for nothing on the device. Extra memory: 24 bytes per split.
    """
    num_rows = rows.shape[0]
    entropy = torch.empty(num_rows, dtype=torch.float32, device=rows.device)
    ids = torch.empty((num_rows, 2), dtype=torch.int64, device=rows.device)
    logprobs = torch.empty((num_rows, 2), dtype=torch.float32, device=rows.device)
    _launch_both(rows, None, None, entropy, ids, logprobs)
    return entropy, ids, logprobs


def sampled(rows: Tensor, tokens: Tensor, out: Tensor, scratch: Tensor | None) -> None:
    """Write `sampled_entropy`'s rows into `out` int32 [N, 7]; `scratch` int32, at least `scratch_words` long."""
    _launch_both(rows, tokens, scratch, out, out, out)


def _launch_both(
    rows: Tensor, tokens: Tensor | None, scratch: Tensor | None, out: Tensor, ids: Tensor, logprobs: Tensor
) -> None:
    num_rows, vocab_size = rows.shape
    if not num_rows:
        return
    cut = cut_rows(num_rows, vocab_size, rows.element_size())
    if scratch is None:
        words = num_rows * cut.num_splits * PIECE_WORDS
        scratch = torch.empty(words, dtype=torch.int32, device=rows.device)
    row_stride, token_stride = rows.stride()
    # All that Triton compiles for: numbers by value, the logits' address by its alignment.
    kind = (rows.device, rows.dtype, vocab_size, row_stride, token_stride, rows.data_ptr() % 16, LANES, WARPS)
    _launch(
        _read, (*kind, STAGES), (num_rows, cut.num_splits, 1), WARPS,
        rows, scratch, row_stride, token_stride, vocab_size, cut.split_tiles, cut.num_splits,
        LANES, cut.chunk, STAGES,
    )  # fmt: skip
    token_type = None if tokens is None else tokens.dtype
    _launch(
        _join, (*kind, MAX_SPLITS, token_type), (num_rows, 1, 1), 1,
        rows, scratch, scratch if tokens is None else tokens, out, ids, logprobs,
        row_stride, token_stride, vocab_size, cut.num_splits, cut.chunk, MAX_SPLITS, tokens is not None,
    )  # fmt: skip


_compiled: dict[tuple, Any] = {}


def _launch(function: Any, kind: tuple, grid: tuple[int, int, int], num_warps: int, *args: Any) -> None:
    """Launch on the logits' device; from the second call of a kind on past Triton's look at each argument."""
    key = (function, *kind)
    kernel = _compiled.get(key)
    device = kind[0]
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            _launch(function, kind, grid, num_warps, *args)
    elif kernel is None:
        # Triton's interpreter returns nothing here.
        _compiled[key] = function[grid](*args, num_warps=num_warps)
    else:
        kernel[grid](*args)
