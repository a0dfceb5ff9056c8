"""Entropy of next tokens from hidden states and the LM head's weight, never holding [tokens, vocab].

For teacher-forced passes over long solutions, where the logits of every position would be the largest tensor
by far (4,096 tokens of a 152,064-token vocabulary are 2.3 GiB in float32).
Source: the same chain rule as `pieces`; the idea of walking the vocabulary in tiles is that of apple/ml-cross-entropy.

Shape suffixes: N rows (flattened tokens), D hidden size, V vocabulary, T tile of the vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eduprm.entropy.chunked import chunked_pieces
from eduprm.entropy.logits import EntropyTop2, check_tensor
from eduprm.entropy.pieces import Pieces, RowStats, finish

TILE_ELEMENTS = 1 << 22  # logits held at once: 16 MiB in float32
ROWS_PER_TILE = 512


@torch.no_grad()
def linear_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None = None, *, tile_elements: int = TILE_ELEMENTS
) -> Tensor:
    """Return the entropy, in nats, of softmax(hidden @ weight.T + bias) at each position.

    Args:
        hidden: [..., D], what the LM head reads (after the final norm), any floating type.
        weight: [V, D], the LM head, on the same device.
        bias: [V] or None.
        tile_elements: about as many logits are held at once, as float32; bounds the extra memory, not the result.

    Returns:
        float32 [...]. Products are summed in float32 whatever the inputs are (float64 stays float64), so for
        half-precision models this is nearer to the exact value than logits rounded to bfloat16 are. NaN as in
        `token_entropy`.

    Raises:
        ValueError: shapes that do not fit, types that are not floating, tensors on different devices.

    Examples:
        >>> import torch
        >>> hidden, head = torch.randn(5, 16), torch.randn(1000, 16)
        >>> exact = torch.distributions.Categorical(logits=hidden @ head.T).entropy()
        >>> bool(torch.allclose(linear_entropy(hidden, head, tile_elements=300), exact, atol=1e-5))
        True
    """
    return _statistics(hidden, weight, bias, tile_elements, top2=False).entropy.reshape(hidden.shape[:-1])


@torch.no_grad()
def linear_entropy_top2(
    hidden: Tensor, weight: Tensor, bias: Tensor | None = None, *, tile_elements: int = TILE_ELEMENTS
) -> EntropyTop2:
    """Return entropy, the two likeliest tokens and their log-probabilities; see `linear_entropy`.

    Examples:
        >>> import torch
        >>> result = linear_entropy_top2(torch.ones(1, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.5]]))
        >>> result.top_ids.tolist()
        [[1, 2]]
    """
    stats = _statistics(hidden, weight, bias, tile_elements, top2=True)
    assert stats.top_ids is not None
    assert stats.top_logprobs is not None
    lead = hidden.shape[:-1]
    return EntropyTop2(
        stats.entropy.reshape(lead), stats.top_ids.reshape(*lead, 2), stats.top_logprobs.reshape(*lead, 2)
    )


def _statistics(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tile_elements: int, *, top2: bool
) -> RowStats:
    _check(hidden, weight, bias, tile_elements, least=2 if top2 else 1)
    flat = hidden.reshape(-1, hidden.shape[-1])  # a copy at most of the hidden states
    # At most as many rows as tokens in a tile: the statistics of all tiles then stay below a few times V.
    step = min(ROWS_PER_TILE, math.isqrt(tile_elements))
    parts = [
        _rows_statistics(flat[i : i + step], weight, bias, tile_elements, top2)
        for i in range(0, max(flat.shape[0], 1), step)
    ]
    entropy, ids, logprobs = zip(*parts, strict=True)
    return RowStats(
        torch.cat(entropy), torch.cat(ids) if top2 else None, torch.cat(logprobs) if top2 else None
    )


def _rows_statistics(
    rows: Tensor, weight: Tensor, bias: Tensor | None, tile_elements: int, top2: bool
) -> RowStats:
    """Join the tiles of a few rows [N, D]."""
    vocab_size = weight.shape[0]
    tile = max(4, tile_elements // max(rows.shape[0], 1))
    starts = list(range(0, vocab_size, tile))
    if len(starts) > 1 and vocab_size - starts[-1] < 2:
        starts[-1] -= 1  # a tile of one token would have no runner-up
    tiles = []
    for start, stop in zip(starts, [*starts[1:], vocab_size], strict=True):
        logits = _logits(rows, weight[start:stop])
        if bias is not None:
            logits += bias[start:stop]
        piece = chunked_pieces(logits, top2=top2)
        tiles.append(piece._replace(ids=None if piece.ids is None else piece.ids + start))
    peak, log_mass, entropy, values, ids = zip(*tiles, strict=True)
    return finish(
        Pieces(
            torch.cat(peak, 1),
            torch.cat(log_mass, 1),
            torch.cat(entropy, 1),
            torch.cat(values, 1) if top2 else None,
            torch.cat(ids, 1) if top2 else None,
        )
    )


def _logits(rows: Tensor, weight: Tensor) -> Tensor:
    """Return rows @ weight.T [N, T] in float32 (float64 for float64 inputs)."""
    halves = (torch.bfloat16, torch.float16)
    if (
        rows.is_cuda
        and rows.dtype == weight.dtype
        and rows.dtype in halves
        and hasattr(torch.ops.aten.mm, "dtype")
    ):
        return torch.mm(rows, weight.t(), out_dtype=torch.float32)  # tensor cores, float32 out; CUDA only
    dtype = torch.promote_types(torch.promote_types(rows.dtype, weight.dtype), torch.float32)
    # Inside a model's autocast the product would be rounded to bfloat16.
    with torch.autocast(rows.device.type, enabled=False):
        return rows.to(dtype) @ weight.to(dtype).t()


def _check(hidden: Tensor, weight: Tensor, bias: Tensor | None, tile_elements: int, *, least: int) -> None:
    check_tensor(hidden, "hidden")
    check_tensor(weight, "weight")
    if bias is not None:
        check_tensor(bias, "bias")
    if hidden.ndim == 0 or weight.ndim != 2 or hidden.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"expected hidden [..., D] and weight [V, D], got {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if weight.shape[0] < least:
        raise ValueError(f"expected a vocabulary of at least {least}, got weight {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"expected bias [{weight.shape[0]}], got {tuple(bias.shape)}")
    for name, tensor in (("hidden", hidden), ("weight", weight), ("bias", bias)):
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"expected {name} of a floating type, got {tensor.dtype}")
        if tensor is not None and tensor.device != hidden.device:
            raise ValueError(f"expected {name} on {hidden.device} like hidden, got {tensor.device}")
    if tile_elements < 2:
        raise ValueError(f"expected tile_elements of at least 2, got {tile_elements}")
