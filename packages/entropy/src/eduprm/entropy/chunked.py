"""Entropy and the two likeliest tokens of rows of logits, in torch, in cache-sized tiles.

For every CPU call, and other devices when the Triton kernel cannot serve.

The work is bound by memory: `log_softmax` arithmetic writes and reads several [N, V] arrays. Here a tile of
logits is taken through maximum, softmax, difference and dot product while it sits in the cache, in two
buffers that are reused. The largest logit is subtracted before anything is summed: logsumexp(x) - sum(p * x)
would cancel two numbers of the size of the logits.

On a CPU rows are shared out to threads of our own (`workers`), in which torch does not split an operation; tiles too
small to be split are read on the calling thread, as all are where torch has one thread. Torch would wait for all
threads after every operation: on a machine whose cores are busy that made an earlier version 100 times slower
(docs/entropy.md). A tile is larger than what torch would leave whole: threads of Python hand the interpreter over at
every operation, and small tiles spent half of the time on that.

The top two are found from the maxima of blocks of `BLOCK` tokens, which the maximum of the tile needs anyway:
the winner lies in the block with the largest maximum, the runner-up in that block or in the next best one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from eduprm.entropy.pieces import NEG_INF, Pieces, pick_two
from eduprm.entropy.workers import serial_threads

BLOCK = 256  # tokens; about the square root of a large vocabulary
SERIAL_ELEMENTS = (
    32_767  # torch runs an operation on the calling thread up to here (at::internal::GRAIN_SIZE)
)
WORKER_ELEMENTS = 1 << 17  # half a row of a large vocabulary; whole ones are faster and sum less exactly
DEVICE_ELEMENTS = 1 << 24  # logits of a tile on a device other than the CPU: 64 MiB in float32
FLOOR = -1000.0  # 0 * FLOOR is 0 where 0 * -inf is NaN; no probability is above 0 so far below the peak


def chunked_pieces(rows: Tensor, *, top2: bool, chunk_rows: int | None = None) -> Pieces:
    """Return the statistics of `rows` [N, V] (any strides, any float type), one piece per tile of the vocabulary.

    Extra memory: two buffers of a tile and about as much again for the block maxima, for every thread; and the result.
    """
    workers = _num_workers(rows)
    tile_rows, tile_tokens = _tile_shape(rows, chunk_rows)
    # Several tasks per worker, so that one on a busy core is not waited for long.
    fair = -(-rows.shape[0] // (4 * workers))
    task_rows = max(tile_rows, fair // tile_rows * tile_rows)
    job = _Job(rows, top2=top2, tile_rows=tile_rows, tile_tokens=tile_tokens)
    tasks = rows.split(task_rows)
    # Where torch has one thread, or leaves the tiles whole, it splits nothing here either, and handing the work to
    # another thread and back took 1.5 ms of a step of 16 rows of 49,152. Softmax splits two rows of any length.
    small = min(tile_rows, rows.shape[0]) <= 1 and tile_tokens <= SERIAL_ELEMENTS
    whole = torch.get_num_threads() == 1 or (workers == 1 and small)
    if whole or rows.device.type != "cpu":
        return _stack([job.run(task) for task in tasks])
    return _stack(list(serial_threads(workers).map(job.run, tasks)))


def _tile_shape(rows: Tensor, chunk_rows: int | None) -> tuple[int, int]:
    """Return (rows, tokens) of a tile; tokens are a multiple of BLOCK or the whole vocabulary."""
    vocab_size = rows.shape[1]
    if rows.device.type != "cpu":
        return chunk_rows or max(1, DEVICE_ELEMENTS // vocab_size), vocab_size
    # The same tokens whatever the number of rows and workers: they decide the order of the sums.
    num_tiles = -(-vocab_size // (WORKER_ELEMENTS // BLOCK * BLOCK))
    tokens = vocab_size if num_tiles == 1 else -(-vocab_size // (num_tiles * BLOCK)) * BLOCK
    return chunk_rows or max(1, SERIAL_ELEMENTS // tokens), tokens


def _num_workers(rows: Tensor) -> int:
    """Return 1 where there is too little to share out; a power of two or all threads, each number being a pool."""
    threads, wanted = torch.get_num_threads(), max(1, rows.numel() // (4 * SERIAL_ELEMENTS))
    return threads if wanted >= threads else 1 << (wanted.bit_length() - 1)


class _Job:
    """What the tasks of one call share."""

    def __init__(self, rows: Tensor, *, top2: bool, tile_rows: int, tile_tokens: int) -> None:
        self.top2 = top2
        self.tile_rows = tile_rows
        self.tile_tokens = tile_tokens
        self.dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        self.floor = rows.device.type != "cpu"  # elsewhere, looking for NaN would wait for the device

    @torch.no_grad()  # grad mode is a property of the thread
    def run(self, rows: Tensor) -> Pieces:
        """Return the statistics of one task's rows."""
        pieces, maxima = self._read(rows)
        if not self.floor and bool(pieces.entropy.isnan().any()):
            # A logit of -inf gives 0 * -inf. Read again with a floor, and keep it: masks seldom come alone.
            self.floor = True
            pieces, maxima = self._read(rows)
        if maxima is None:
            return pieces
        values, ids = _top_two(rows, maxima)
        return pieces._replace(values=values[:, None], ids=ids[:, None])

    def _read(self, rows: Tensor) -> tuple[Pieces, Tensor | None]:
        num_rows, vocab_size = rows.shape
        blank = functools.partial(torch.empty, dtype=self.dtype, device=rows.device)
        # One matrix per statistic and one row per tile column: [S, N], so that each tile writes a slice.
        peak, top, moment, total = (blank(-(-vocab_size // self.tile_tokens), num_rows) for _ in range(4))
        maxima = blank(num_rows, -(-vocab_size // BLOCK)) if self.top2 else None
        buffers = [blank(min(self.tile_rows, num_rows) * self.tile_tokens) for _ in range(2)]
        for part, column, tile in self._tiles(rows):
            shift, share = (buffer[: tile.numel()].view(tile.shape) for buffer in buffers)
            if tile.dtype != self.dtype or tile.stride(-1) != 1:
                tile = shift.copy_(tile)
            here = peak[column, part, None]
            if maxima is None:
                torch.amax(tile, -1, keepdim=True, out=here)
            else:
                first = column * self.tile_tokens // BLOCK
                blocks = maxima[part, first : first + -(-tile.shape[1] // BLOCK)]
                torch.amax(_block_maxima(tile, out=blocks), -1, keepdim=True, out=here)
            torch.softmax(tile, -1, out=share)
            torch.sub(tile, here, out=shift)
            if self.floor:
                shift.clamp_(min=FLOOR)
            # The largest share is 1 / sum exp(shift): the mass, without a pass of its own.
            torch.amax(share, -1, out=top[column, part])
            torch.sum(share, -1, out=total[column, part])
            torch.sum(share.mul_(shift), -1, out=moment[column, part])
        # softmax adds up a tile in as few running sums as the processor has lanes, torch.sum in many: the shares' sum
        # says how far off the mass was (3e-5 with 8 lanes).
        log_mass = (total / top).log()
        moment /= total
        return Pieces(peak.t(), log_mass.t(), (log_mass - moment).t(), None, None), maxima

    def _tiles(self, rows: Tensor) -> Iterator[tuple[slice, int, Tensor]]:
        start = 0
        for band in rows.split(self.tile_rows) if len(rows) else ():
            part = slice(start, start := start + len(band))
            for column, tile in enumerate(band.split(self.tile_tokens, dim=1)):
                yield part, column, tile


def _block_maxima(tile: Tensor, *, out: Tensor) -> Tensor:
    num_full = tile.shape[1] // BLOCK
    if num_full:
        torch.amax(tile[:, : num_full * BLOCK].unflatten(-1, (num_full, BLOCK)), -1, out=out[:, :num_full])
    if num_full < out.shape[1]:
        torch.amax(tile[:, num_full * BLOCK :], -1, out=out[:, num_full])
    return out


def _top_two(rows: Tensor, maxima: Tensor) -> tuple[Tensor, Tensor]:
    vocab_size, num_blocks = rows.shape[1], maxima.shape[1]
    if num_blocks <= 2:
        ids = torch.arange(vocab_size, device=rows.device).expand(rows.shape)
        return pick_two(rows, ids)
    first = maxima.argmax(-1, keepdim=True)
    second = maxima.scatter(-1, first, NEG_INF).argmax(-1, keepdim=True)
    # Where every other block is -inf, argmax may name the first block again: any other serves.
    second = torch.where(second == first, (first + 1) % num_blocks, second)
    blocks = torch.cat([torch.minimum(first, second), torch.maximum(first, second)], -1)
    ids = (blocks[:, :, None] * BLOCK + torch.arange(BLOCK, device=rows.device)).flatten(1)
    values = rows.gather(-1, ids.clamp(max=vocab_size - 1))
    return pick_two(values.masked_fill(ids >= vocab_size, NEG_INF), ids)


def _stack(parts: list[Pieces]) -> Pieces:
    if len(parts) == 1:
        return parts[0]
    peak, log_mass, entropy, values, ids = zip(*parts, strict=True)
    two = values[0] is not None
    return Pieces(
        torch.cat(peak),
        torch.cat(log_mass),
        torch.cat(entropy),
        torch.cat(values) if two else None,
        torch.cat(ids) if two else None,
    )
