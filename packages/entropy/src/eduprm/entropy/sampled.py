"""What a sampling step wants to know of its logits: entropy, the two likeliest tokens, the sampled token's log-prob.

One tensor holds all of it, so that a decoding step needs one call and one transfer to the host. On CUDA two launches
fill it (`kernel`); with `out` and `scratch` given nothing is allocated, and a CUDA graph may hold the call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eduprm.entropy.logits import Backend, check_logits, check_tensor, entropy_top2, use_kernel

#: int32 words of a row: the bits of the float32 entropy, log-prob of the sampled token, of the likeliest token and of
#: the second; then the ids of the likeliest, the second and the sampled token.
SAMPLED_WORDS = 7


class Sampled(NamedTuple):
    """The columns of `sampled_entropy`'s rows, as arrays [N].

    Attributes:
        entropy_nats: float32, Shannon entropy of the full distribution.
        logprobs: float32, natural log-prob of the sampled token.
        top_logprobs: float32 [N, 2], of the two likeliest tokens.
        top_ids: int32 [N, 2]; -1 in a row without a distribution.
        token_ids: int32, the sampled tokens.
    """

    entropy_nats: NDArray[np.float32]
    logprobs: NDArray[np.float32]
    top_logprobs: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    token_ids: NDArray[np.int32]


@torch.no_grad()
def sampled_entropy(
    logits: Tensor,
    token_ids: Tensor,
    *,
    out: Tensor | None = None,
    scratch: Tensor | None = None,
    chunk_rows: int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Return entropy, the two likeliest tokens and the sampled token's log-prob of each row, packed for one transfer.

    Args:
        logits: [N, V] raw logits, V >= 2; see `token_entropy`.
        token_ids: int32 or int64 [N], the tokens drawn, each below V (not checked: that would wait for the device).
        out: int32 [N, 7], contiguous, on the logits' device, to be filled and returned; None allocates it.
        scratch: int32 on the same device, at least `sampled_scratch(N, V, dtype)` long, to be reused from step to step
            of one stream; None allocates it. The torch path needs none.
        chunk_rows: see `token_entropy`.
        backend: see `token_entropy`.

    Returns:
        int32 [N, 7]; `unpack_sampled` names the columns on the host.

    Raises:
        ValueError: as `entropy_top2`, logits that are not [N, V], or tensors that do not fit them.

    Examples:
        >>> import torch
        >>> packed = sampled_entropy(torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([2]))
        >>> found = unpack_sampled(packed.numpy())
        >>> found.top_ids.tolist(), found.token_ids.tolist()
        ([[1, 2]], [2])
        >>> [round(float(value), 4) for value in (found.entropy_nats[0], found.logprobs[0])]
        [0.8324, -1.4076]
    """
    check_logits(logits, top2=True, chunk_rows=chunk_rows)
    check_tensor(token_ids, "token_ids")
    if logits.ndim != 2 or token_ids.shape != logits.shape[:1]:
        raise ValueError(
            f"expected logits [N, V] and token ids [N], got {tuple(logits.shape)} and {tuple(token_ids.shape)}"
        )
    if token_ids.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"expected token ids of int32 or int64, got {token_ids.dtype}")
    num_rows = logits.shape[0]
    if out is None:
        out = torch.empty((num_rows, SAMPLED_WORDS), dtype=torch.int32, device=logits.device)
    elif out.shape != (num_rows, SAMPLED_WORDS) or out.dtype != torch.int32 or not out.is_contiguous():
        raise ValueError(
            f"expected out int32 [{num_rows}, {SAMPLED_WORDS}], contiguous, got {out.dtype} {tuple(out.shape)} "
            f"with strides {out.stride()}"
        )
    if use_kernel(logits, backend):
        from eduprm.entropy import kernel

        words = kernel.scratch_words(num_rows, logits.shape[1], logits.element_size())
        if scratch is not None and scratch.numel() < words:
            raise ValueError(f"expected scratch of at least {words} int32, got {scratch.numel()}")
        kernel.sampled(logits, token_ids.contiguous(), out, scratch)
        return out
    found = entropy_top2(logits, chunk_rows=chunk_rows, backend="torch")
    first = found.top_ids[:, :1]
    # A row without a distribution has ids of -1: any index will do, the result is NaN through the log-prob.
    pair = logits.gather(-1, torch.cat([token_ids.long()[:, None], first.clamp(min=0)], -1)).float()
    logprobs = pair[:, :1] - pair[:, 1:] + found.top_logprobs[:, :1]
    out[:, 0] = found.entropy_nats.view(torch.int32)
    out[:, 1:4] = torch.cat([logprobs, found.top_logprobs], -1).view(torch.int32)
    out[:, 4:6] = found.top_ids
    out[:, 6] = token_ids
    return out


def sampled_scratch(num_rows: int, vocab_size: int, dtype: torch.dtype) -> int:
    """Return how many int32 elements `sampled_entropy` needs as `scratch` on CUDA for such logits or fewer rows.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    from eduprm.entropy.kernel import scratch_words

    # Fewer rows are cut into more splits, at most so that all together have the same number of programs.
    return max(scratch_words(rows, vocab_size, dtype.itemsize) for rows in range(1, num_rows + 1))


def unpack_sampled(packed: NDArray[np.int32]) -> Sampled:
    """Return the columns of `sampled_entropy`'s rows int32 [N, 7] on the host, as views."""
    floats = packed[:, :4].view(np.float32)
    return Sampled(floats[:, 0], floats[:, 1], floats[:, 2:4], packed[:, 4:6], packed[:, 6])
