"""Certified bounds on the entropy from top-k log-probs, in numpy: for a client that does not load torch.

The same bounds as `eduprm.entropy.entropy_bounds`, where the proof stands; a test holds the two against each other.
Knows neither logits nor servers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TOLERANCE = 1e-5  # relative to max(1, |log-prob|), as there: float32 logits and their log-softmax


def top_k_bounds(
    top_logprobs: FloatArray, vocab_size: int, *, tolerance: float = TOLERANCE
) -> tuple[FloatArray, FloatArray]:
    """Lower and upper bounds in nats on the entropy of each distribution.

    Args:
        top_logprobs: [n, k] natural log-probs at temperature 1 of the k likeliest tokens, in any order.
        vocab_size: tokens the model can give probability to, at least k.
        tolerance: how far each log-prob may be off, relative to max(1, |log-prob|).

    Returns:
        Two float64 arrays [n], lower <= true entropy <= upper <= log(vocab_size).

    Raises:
        ValueError: these are not the k largest log-probs of one distribution over `vocab_size` tokens.

    Examples:
        >>> lower, upper = top_k_bounds(np.array([[-1.0, -1.5, -2.0]]), 50_000)
        >>> round(float(lower[0]), 3), round(float(upper[0]), 3)
        (1.532, 4.289)
    """
    logprobs = np.asarray(top_logprobs, np.float64)
    if logprobs.ndim != 2 or not 1 <= logprobs.shape[1] <= vocab_size:
        raise ValueError(f"expected top_logprobs [n, k], 1 <= k <= {vocab_size}, got {logprobs.shape}")
    if np.isnan(logprobs).any() or (logprobs > max(tolerance, 1e-12)).any():
        raise ValueError(f"expected natural log-probabilities of at most 0, got {logprobs.max()}")
    num_rest = vocab_size - logprobs.shape[1]
    slack = np.where(np.isinf(logprobs), 0.0, tolerance * np.maximum(np.abs(logprobs), 1.0))
    low = np.exp(logprobs - slack)
    high = np.minimum(np.exp(logprobs + slack), 1.0)
    rest_low = np.maximum(1.0 - high.sum(1), 0.0)
    rest_high = np.clip(1.0 - low.sum(1), 0.0, 1.0)
    cap = high.min(1)  # no unknown token is likelier than this
    if (low.sum(1) > 1.0 + 1e-9).any() or (rest_low - num_rest * cap > 1e-9).any():
        raise ValueError(f"expected the {logprobs.shape[1]} largest log-probs of {vocab_size}, got others")
    known_low = np.minimum(_term(low), _term(high)).sum(1)
    known_high = _term(np.clip(math.exp(-1.0), low, high)).sum(1)
    upper = np.minimum(known_high + _rest_upper(rest_low, rest_high, num_rest), math.log(vocab_size))
    lower = np.maximum(known_low + _rest_lower(rest_low, rest_high, cap), 0.0)
    return np.minimum(lower, upper), upper


def _term(probability: FloatArray) -> FloatArray:
    """-p log p, 0 at 0."""
    return -probability * np.log(np.where(probability > 0.0, probability, 1.0))


def _concentrated(rest: FloatArray, cap: FloatArray) -> FloatArray:
    """The least entropy part of mass `rest` on tokens of at most `cap` each."""
    safe = np.where(cap > 0.0, cap, 1.0)
    filled = np.floor(rest / safe)
    remainder = np.maximum(rest - filled * cap, 0.0)
    return np.where(cap > 0.0, filled * _term(cap) + _term(remainder), 0.0)


def _rest_lower(rest_low: FloatArray, rest_high: FloatArray, cap: FloatArray) -> FloatArray:
    ends = np.minimum(_concentrated(rest_low, cap), _concentrated(rest_high, cap))
    # Concave between multiples of cap, and growing from one to the next: the first inside is enough.
    safe = np.where(cap > 0.0, cap, 1.0)
    multiple = np.where(cap > 0.0, np.ceil(rest_low / safe) * cap, rest_high)
    inside = (multiple > rest_low) & (multiple < rest_high)
    return np.where(inside, np.minimum(ends, _concentrated(multiple, cap)), ends)


def _rest_upper(rest_low: FloatArray, rest_high: FloatArray, num_rest: int) -> FloatArray:
    if num_rest == 0:
        return np.zeros_like(rest_low)
    rest = np.clip(num_rest / math.e, rest_low, rest_high)
    return _term(rest) + rest * math.log(num_rest)
