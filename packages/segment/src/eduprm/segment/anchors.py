"""Anchors: the token positions at which a step begins, by entropy (EDU-PRM) or by low confidence (AdaptiveStep).

It takes entropies and log-probs as given; computing them for a text needs a model's teacher-forced pass, which
is not in this package. Sources: EDU-PRM, arXiv 2503.22233; AdaptiveStep, arXiv 2502.13943.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from numbers import Real

import numpy as np
import numpy.typing as npt

from .symbols import is_symbol

FloatArray = npt.NDArray[np.float64]
Numbers = Sequence[float] | npt.NDArray[np.floating]

_STOP_TEXT = "end"
_ROUNDING_NATS = 1e-4  # how far above 0 engines round a sure token's log-prob


def judged_texts(
    top_ids: Sequence[int] | npt.NDArray[np.integer],
    decode: Callable[[list[int]], str],
    *,
    stop_ids: Collection[int],
    where: Sequence[bool] | npt.NDArray[np.bool_] | None = None,
) -> list[str]:
    """The texts by which `entropy_anchors` judges tokens: each decoded by itself, a stop token as a word.

    A stop token is no symbol though it has no text: to end or to go on is a choice of its own. Other special tokens
    have no text either and are symbols.

    Args:
        top_ids: [n], the most probable token at each position.
        decode: gives the text of token ids, special tokens left out.
        stop_ids: the tokens that end a solution.
        where: [n], the positions that matter; others are not decoded (the cost of this function) and get "".

    Examples:
        >>> judged_texts([97, 46, 0], lambda ids: "".join(map(chr, ids)), stop_ids={0})
        ['a', '.', 'end']
    """
    wanted = [True] * len(top_ids) if where is None else where
    return [
        (_STOP_TEXT if int(token) in stop_ids else decode([int(token)])) if asked else ""
        for token, asked in zip(top_ids, wanted, strict=True)
    ]


def above_threshold(entropies: Numbers, threshold: float) -> npt.NDArray[np.bool_]:
    """Whether each entropy exceeds the threshold, both as float32: so engines measure and forests keep them.

    Examples:
        >>> above_threshold([0.1, 0.2], 0.1).tolist()
        [False, True]
    """
    return np.asarray(entropies, dtype=np.float32) > np.float32(threshold)


def entropy_anchors(
    entropies: Numbers,
    top_texts: Sequence[str],
    *,
    threshold: float = 1.0,
    skip_symbols: bool = True,
) -> list[int]:
    """Positions whose entropy exceeds the threshold and whose most probable token is no bare symbol, in order.

    The token that stands at a position may be another one: the runner-up behind a fork, or what a draw gave. It does
    not matter, so that all solutions that share a beginning are cut alike there. Position 0 counts like any other: it
    is a fork of the search, though no cut of a text.

    Args:
        entropies: [n] nats, of the distribution that the token at this position was drawn from.
        top_texts: n decoded texts (not vocabulary entries such as "Ġa") of the most probable tokens: `judged_texts`.
        threshold: nats; 1.0 is the paper's, a small model wants less.
        skip_symbols: False makes anchors of symbols too.

    Errors: ValueError for lengths that differ, NaN or negative entropies, or a threshold that is NaN.

    Examples:
        >>> entropy_anchors([1.4, 0.2, 2.0, 1.3], ["First", " we", ",", " add"])
        [0, 3]
    """
    values = _checked(entropies, "entropies")
    if len(top_texts) != len(values):
        raise ValueError(f"expected {len(values)} token texts, one per entropy, got {len(top_texts)}")
    _check_threshold(threshold)
    if len(values) and values.min() < 0:
        position = int(values.argmin())
        raise ValueError(
            f"expected entropies of 0 or more nats, got {values[position]} at position {position}"
        )
    high = np.flatnonzero(above_threshold(values, threshold)).tolist()
    return [position for position in high if not (skip_symbols and is_symbol(top_texts[position]))]


def low_confidence_anchors(
    logprobs: Numbers, *, quantile: float | None = None, threshold: float | None = None
) -> list[int]:
    """Positions whose token was less probable than the threshold (AdaptiveStep), in order.

    Args:
        logprobs: [n] nats, log-probability of the token that stands at each position.
        quantile: take the threshold from these log-probs themselves (see low_confidence_threshold). 0.02, the
            paper's share, where neither is given.
        threshold: ln of a probability, nats, at most 0; the published method takes one threshold from a whole corpus
            and gives it here.

    Errors: ValueError for both options at once, NaN, log-probs or a threshold above 0, or a quantile outside (0, 1).

    Examples:
        >>> low_confidence_anchors([-0.1, -2.5, -0.2, -1.0], threshold=-0.9)
        [1, 3]
        >>> low_confidence_anchors([-0.1, -2.5, -0.2, -1.0], quantile=0.25)
        [1]
    """
    if quantile is not None and threshold is not None:
        raise ValueError(f"expected quantile or threshold, got both ({quantile} and {threshold})")
    check_log_probability(threshold)
    values = _checked_logprobs(logprobs)
    if not len(values):
        return []
    if threshold is None:
        threshold = low_confidence_threshold([values], quantile=0.02 if quantile is None else quantile)
    return [int(position) for position in np.flatnonzero(values < threshold)]


def check_log_probability(threshold: float | None) -> None:
    """Refuse a threshold that is no log-probability, such as a probability: every token would lie below it.

    Errors: ValueError for NaN, or a value above 0 by more than rounding of float32.

    Examples:
        >>> try:
        ...     check_log_probability(0.02)
        ... except ValueError as error:
        ...     print(str(error).partition("; ")[2])
        for a probability of 0.02 give ln 0.02 = -3.912
    """
    if threshold is None:
        return
    _check_threshold(threshold)
    if threshold > _ROUNDING_NATS:
        hint = f"; for a probability of {threshold:g} give ln {threshold:g} = {np.log(threshold):.4g}"
        raise ValueError(
            "expected a threshold of at most 0, the log-probability (nats) below which a token is improbable, got "
            f"{threshold:g}{hint if threshold < 1 else ''}"
        )


def _check_threshold(threshold: float) -> None:
    if not isinstance(threshold, Real) or np.isnan(threshold):
        raise ValueError(f"expected a threshold in nats, got {threshold!r}")


def low_confidence_threshold(solutions: Iterable[Numbers], *, quantile: float = 0.02) -> float:
    """The log-prob (nats) below which about this share of all tokens of a corpus lies.

    Strictly below: where ties reach down to the minimum (all tokens sure), no token is an anchor.

    Args:
        solutions: log-probs, one sequence per solution.
        quantile: the share, between 0 and 1.

    Errors: ValueError for no tokens at all, NaN, log-probs above 0, or a quantile outside (0, 1).

    Examples:
        >>> low_confidence_threshold([[-4.0, -3.0], [-2.0, -1.0, 0.0]], quantile=0.5)
        -2.0
    """
    if not 0 < quantile < 1:
        raise ValueError(f"expected a quantile between 0 and 1, got {quantile}")
    arrays = [_checked_logprobs(solution) for solution in solutions]
    joined = np.concatenate(arrays) if arrays else np.zeros(0)
    if not len(joined):
        raise ValueError("expected at least one log-prob to take a threshold from, got none")
    # not interpolated: -inf is a lawful log-prob, and half-way to it is NaN
    return float(np.quantile(joined, quantile, method="higher"))


def _checked(values: Numbers, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected {name} of one dimension, got shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"expected {name} without NaN, got NaN at position {int(np.isnan(array).argmax())}")
    return array


def _checked_logprobs(values: Numbers) -> FloatArray:
    array = _checked(values, "logprobs")
    if (array > _ROUNDING_NATS).any():  # probabilities, say: none would lie below a threshold
        position = int(array.argmax())
        raise ValueError(
            f"expected log-probabilities (nats) of at most 0, got {array[position]:g} at position {position}"
        )
    return array
