"""Certified bounds on the entropy where only the top-k log-probabilities are known.

For servers and files that give top-k log-probs and no logits. The entropy of a truncated top-k is not an
estimate of the entropy (on one model 1.59 nats from the top 20, where 5.07 was true); bounds are honest.
Source: elementary concavity; the proof stands in `entropy_bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TOLERANCE = (
    1e-5  # relative to max(1, |log-prob|): float32 logits up to about 100 in size, and their log-softmax
)


@torch.no_grad()
def entropy_bounds(
    top_logprobs: Tensor | Sequence[float] | Sequence[Sequence[float]],
    vocab_size: int,
    *,
    tolerance: float = TOLERANCE,
) -> tuple[Tensor, Tensor]:
    """Return (lower, upper) bounds in nats on the entropy of each distribution.

    Let p_1 >= ... >= p_k be the known probabilities, H_k = -sum p_i log p_i their part of the entropy,
    r = 1 - sum p_i the mass left, and n = V - k the tokens it lies on, each of probability q_j <= p_k. The
    entropy is H_k + R with R = -sum q_j log q_j over the set {q: sum q_j = r, 0 <= q_j <= p_k}. -q log q is
    concave, so R is a symmetric concave function on a convex polytope, and therefore:

    * Upper: R is largest where all q_j are equal (averaging the permutations of any q gives that point, and by
      Jensen does not lower R): R <= r log(n / r). It is feasible since r <= n p_k.
    * Lower: R is smallest at a vertex. At a vertex at most one q_j lies strictly between 0 and p_k, so
      f = floor(r / p_k) tokens have p_k and one has the remainder s = r - f p_k:
      R >= -f p_k log p_k - s log s.

    Both are attained by some distribution, so nothing tighter can be had from the same numbers.

    Known log-probs are rounded. Each is taken to be right to within d_i = tolerance * max(1, |l_i|), and the
    bounds hold for every distribution that fits: each known term and r range over intervals, on which the
    concave parts take their minimum at an end (or, for R's lower bound, where f changes) and their maximum at
    the point nearest to the peak of the curve; a larger p_k only lowers the lower bound, so its largest
    value is used there.

    Args:
        top_logprobs: [..., k] natural log-probabilities at temperature 1 of the k likeliest tokens, in any
            order; k >= 1. Those of a distribution that was truncated or tempered are something else.
        vocab_size: V >= k, tokens the model can give probability to.
        tolerance: how far each log-prob may be off, relative to max(1, |log-prob|). 0 trusts them to the last
            bit of float64; log-probs that went through bfloat16 want 2**-8.

    Returns:
        Two float64 tensors [...], lower <= true entropy <= upper <= log V.

    Raises:
        ValueError: k outside 1..V, NaN, a log-prob above 0 or a sum of probabilities above 1 by more than the
            tolerance, or more mass left over than V - k tokens can hold: then these are not the top k.

    Examples:
        >>> lower, upper = entropy_bounds([-1.0, -1.5, -2.0], 50_000)
        >>> round(lower.item(), 3), round(upper.item(), 3)
        (1.532, 4.289)
        >>> lower, upper = entropy_bounds([math.log(0.5), math.log(0.5)], 50_000, tolerance=0.0)
        >>> round(lower.item(), 6) == round(upper.item(), 6) == round(math.log(2), 6)
        True
    """
    logprobs = _as_tensor(top_logprobs)
    num_known = _check(logprobs, vocab_size, tolerance)
    num_rest = vocab_size - num_known
    slack = tolerance * logprobs.abs().clamp(min=1.0)
    slack = torch.where(logprobs.isinf(), 0.0, slack)
    low = (logprobs - slack).exp()
    high = (logprobs + slack).exp().clamp(max=1.0)
    rest_low = (1.0 - high.sum(-1)).clamp(min=0.0)
    rest_high = (1.0 - low.sum(-1)).clamp(min=0.0, max=1.0)
    cap = high.amin(-1)  # no unknown token is likelier than this
    _check_fit(low, rest_low, cap, num_rest)

    known_low = torch.minimum(_term(low), _term(high)).sum(-1)
    peak = torch.full_like(low, math.exp(-1.0))
    known_high = _term(peak.clamp(low, high)).sum(-1)
    lower = known_low + _rest_lower(rest_low, rest_high, cap)
    upper = known_high + _rest_upper(rest_low, rest_high, num_rest)
    limit = math.log(vocab_size)
    upper = upper.clamp(max=limit)
    return torch.minimum(lower.clamp(min=0.0), upper), upper


def _term(probability: Tensor) -> Tensor:
    return torch.special.entr(probability)  # -p log p, 0 at 0


def _concentrated(rest: Tensor, cap: Tensor) -> Tensor:
    """Return the least entropy part of mass `rest` on tokens of at most `cap` each."""
    filled = torch.where(cap > 0, (rest / cap).floor(), 0.0)
    # Division may round up to the next whole number; the remainder must not go below 0.
    remainder = (rest - filled * cap).clamp(min=0.0)
    return torch.where(cap > 0, filled * _term(cap) + _term(remainder), 0.0)


def _rest_lower(rest_low: Tensor, rest_high: Tensor, cap: Tensor) -> Tensor:
    """Return the least of `_concentrated` over the interval of `rest`; it is concave between multiples of cap."""
    ends = torch.minimum(_concentrated(rest_low, cap), _concentrated(rest_high, cap))
    # It grows from one multiple of cap to the next, so the first one inside the interval is enough.
    multiple = torch.where(cap > 0, (rest_low / cap).ceil() * cap, rest_high)
    inside = (multiple > rest_low) & (multiple < rest_high)
    return torch.where(inside, torch.minimum(ends, _concentrated(multiple, cap)), ends)


def _rest_upper(rest_low: Tensor, rest_high: Tensor, num_rest: int) -> Tensor:
    if num_rest == 0:
        return torch.zeros_like(rest_low)
    peak = torch.full_like(rest_low, num_rest / math.e)
    rest = torch.minimum(torch.maximum(peak, rest_low), rest_high)
    return _term(rest) + rest * math.log(num_rest)


def _as_tensor(top_logprobs: object) -> Tensor:
    try:
        return torch.as_tensor(top_logprobs, dtype=torch.float64)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(
            "expected top_logprobs as a tensor or lists of numbers, k in each, "
            f"got {_fault(top_logprobs, 'top_logprobs')}"
        ) from None


def _fault(value: object, place: str) -> str:
    """The first thing in nested lists that is no number, with its place."""
    if not isinstance(value, list | tuple):
        return f"{type(value).__name__} for {place}"
    for index, inner in enumerate(value):
        if isinstance(inner, list | tuple):
            found = _fault(inner, f"{place}[{index}]")
            if not found.startswith("lists"):
                return found
        elif not isinstance(inner, int | float):
            return f"{type(inner).__name__} at {place}[{index}]"
    return "lists of several lengths"


def _check(logprobs: Tensor, vocab_size: int, tolerance: float) -> int:
    if not hasattr(vocab_size, "__index__"):
        raise TypeError(f"expected vocab_size as a whole number, got {type(vocab_size).__name__}")
    if logprobs.ndim == 0 or not 1 <= logprobs.shape[-1] <= vocab_size:
        raise ValueError(
            f"expected top_logprobs [..., k] with 1 <= k <= vocab_size = {vocab_size}, got {tuple(logprobs.shape)}"
        )
    if not 0.0 <= tolerance < 0.1:
        raise ValueError(f"expected a tolerance in [0, 0.1), got {tolerance}")
    if bool(logprobs.isnan().any()) or bool((logprobs > max(tolerance, 1e-12)).any()):
        worst = logprobs.max().item()  # NaN, if there is one
        raise ValueError(f"expected natural log-probabilities of at most 0, got {worst}")
    return logprobs.shape[-1]


def _check_fit(low: Tensor, rest_low: Tensor, cap: Tensor, num_rest: int) -> None:
    total = low.sum(-1)
    if bool((total > 1.0 + 1e-9).any()):
        raise ValueError(f"expected probabilities that sum to at most 1, got {total.max().item():.6g}")
    excess = rest_low - num_rest * cap
    if bool((excess > 1e-9).any()):
        raise ValueError(
            f"expected the {low.shape[-1]} largest log-probabilities of the vocabulary: {num_rest} other tokens "
            f"cannot hold the mass left over, {excess.max().item():.3g} of it would not fit"
        )
