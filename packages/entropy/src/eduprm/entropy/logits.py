"""Token entropy from logits: the two calls most users want.

For any place that holds next-token logits, on a CPU or a GPU.
Source: EDU-PRM (arXiv 2503.22233) forks where the Shannon entropy of the full next-token distribution is high,
into the two likeliest tokens. Entropy is taken at temperature 1 from the raw logits.

No gradients: everything runs under `torch.no_grad()`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from eduprm.entropy.chunked import chunked_pieces
from eduprm.entropy.pieces import RowStats, finish

Backend = Literal["auto", "torch", "triton"]


class EntropyTop2(NamedTuple):
    """Entropy and the two likeliest tokens at each position.

    Attributes:
        entropy_nats: float32 [...], Shannon entropy of the full distribution, in nats.
        top_ids: int64 [..., 2], the likeliest token and the runner-up; among equals the lower id comes first.
        top_logprobs: float32 [..., 2], their natural log-probabilities at temperature 1.
    """

    entropy_nats: Tensor
    top_ids: Tensor
    top_logprobs: Tensor


@torch.no_grad()
def token_entropy(logits: Tensor, *, chunk_rows: int | None = None, backend: Backend = "auto") -> Tensor:
    """Return the Shannon entropy, in nats, of each next-token distribution.

    Args:
        logits: [..., V] raw logits (before temperature, penalties, top-p), any leading shape, any strides, any
            floating type. Half precisions are summed in float32; float64 is summed in float64.
        chunk_rows: rows of a tile of the torch path; None picks tiles that fit a core's cache. Changes speed and
            extra memory (per thread, two float32 buffers of a tile: chunk_rows times at most 131,072 tokens on
            a CPU), not the result beyond rounding.
        backend: "auto" takes the Triton kernel on CUDA where Triton is installed, torch elsewhere.

    Returns:
        float32 [...]. Logits of -inf (masked tokens) count as probability 0. A row holding NaN or +inf, or only
        -inf, has no distribution: its entropy is NaN.

    Raises:
        ValueError: logits that are not floating, have no dimension, or an empty vocabulary.

    Examples:
        >>> import torch
        >>> token_entropy(torch.zeros(2, 3, 1000)).shape
        torch.Size([2, 3])
        >>> round(token_entropy(torch.zeros(4)).item(), 4)  # log 4
        1.3863
        >>> token_entropy(torch.tensor([0.0, float("-inf")])).item()
        0.0
    """
    return _statistics(logits, top2=False, chunk_rows=chunk_rows, backend=backend).entropy.reshape(
        logits.shape[:-1]
    )


@torch.no_grad()
def entropy_top2(logits: Tensor, *, chunk_rows: int | None = None, backend: Backend = "auto") -> EntropyTop2:
    """Return entropy, the two likeliest tokens and their log-probabilities, reading the logits once.

    Args:
        logits: [..., V] raw logits with V >= 2; see `token_entropy`.
        chunk_rows: see `token_entropy`.
        backend: see `token_entropy`.

    Returns:
        `EntropyTop2`. Ties go to the lower id. A row without a distribution (NaN, +inf, only -inf) has NaN in
        entropy and log-probs and -1 in both ids.

    Raises:
        ValueError: as `token_entropy`, and where V < 2.

    Examples:
        >>> import torch
        >>> result = entropy_top2(torch.tensor([[0.0, 2.0, 2.0, -1.0]]))
        >>> result.top_ids.tolist()
        [[1, 2]]
        >>> [round(value, 4) for value in result.top_logprobs[0].tolist()]
        [-0.7817, -0.7817]
        >>> round(result.entropy_nats.item(), 4)
        0.9739
    """
    stats = _statistics(logits, top2=True, chunk_rows=chunk_rows, backend=backend)
    assert stats.top_ids is not None
    assert stats.top_logprobs is not None
    lead = logits.shape[:-1]
    return EntropyTop2(
        stats.entropy.reshape(lead), stats.top_ids.reshape(*lead, 2), stats.top_logprobs.reshape(*lead, 2)
    )


def _statistics(logits: Tensor, *, top2: bool, chunk_rows: int | None, backend: Backend) -> RowStats:
    check_logits(logits, top2=top2, chunk_rows=chunk_rows)
    with_kernel = use_kernel(logits, backend)
    parts = [_rows_statistics(rows, top2, chunk_rows, with_kernel) for rows in _row_views(logits)]
    if len(parts) == 1:
        return parts[0]
    entropy, ids, logprobs = zip(*parts, strict=True)
    return RowStats(
        torch.cat(entropy), torch.cat(ids) if top2 else None, torch.cat(logprobs) if top2 else None
    )


def _rows_statistics(rows: Tensor, top2: bool, chunk_rows: int | None, with_kernel: bool) -> RowStats:
    if with_kernel:
        from eduprm.entropy import kernel

        return RowStats(*kernel.top2(rows))
    return finish(chunked_pieces(rows, top2=top2, chunk_rows=chunk_rows))


def _row_views(logits: Tensor) -> Iterator[Tensor]:
    """Yield [N, V] views that cover `logits` in order, without ever copying it."""
    if logits.ndim <= 2:
        yield logits if logits.ndim == 2 else logits[None]
        return
    try:
        yield logits.view(-1, logits.shape[-1])
    except RuntimeError:  # the strides of the leading dimensions do not merge
        for inner in logits:
            yield from _row_views(inner)


def check_tensor(value: object, name: str) -> None:
    """Say what to do with what is no tensor.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, Tensor):
        hint = "; torch.as_tensor makes one" if hasattr(value, "__len__") else ""
        raise TypeError(f"expected {name} as a torch tensor, got {type(value).__name__}{hint}")


def check_logits(logits: Tensor, *, top2: bool, chunk_rows: int | None) -> None:
    """Raise a ValueError for logits that no call takes."""
    check_tensor(logits, "logits")
    if not logits.is_floating_point():
        raise ValueError(f"expected logits of a floating type, got {logits.dtype}")
    least = 2 if top2 else 1
    if logits.ndim == 0 or logits.shape[-1] < least:
        raise ValueError(
            f"expected logits [..., V] with a vocabulary of at least {least}, got shape {tuple(logits.shape)}"
        )
    if chunk_rows is not None and chunk_rows < 1:
        raise ValueError(f"expected chunk_rows of at least 1 (or None), got {chunk_rows}")


@functools.cache
def _triton_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def use_kernel(logits: Tensor, backend: str) -> bool:
    """Say whether the Triton kernel serves these logits.

    Raises:
        ValueError: an unknown backend, or "triton" where it cannot run.
    """
    if backend not in ("auto", "torch", "triton"):
        raise ValueError(f"expected backend 'auto', 'torch' or 'triton', got {backend!r}")
    if backend == "torch" or (backend == "auto" and not logits.is_cuda):
        return False
    # Triton's interpreter runs kernels on CPU tensors: slow, but it lets tests check them without a GPU.
    runs_here = logits.is_cuda or os.environ.get("TRITON_INTERPRET") == "1"
    fits = logits.dtype in (torch.float32, torch.bfloat16, torch.float16)
    able = _triton_installed() and runs_here and fits
    if backend == "triton" and not able:
        raise ValueError(
            "expected Triton, a CUDA tensor and float32, bfloat16 or float16 for backend 'triton', got "
            f"{'triton installed' if _triton_installed() else 'no triton'}, a {logits.device.type} tensor, "
            f"{logits.dtype}"
        )
    return able
