"""What an answer of the generate route must hold before a number of it is taken.

A proxy's page, a worker that dies in mid-answer and a model that overflows all answer with status 200. Each is an
attempt that failed, with a reason that names the field; none ends the run, and no NaN comes into a tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eduprm.core.retry import RetryableError

__all__ = ["check_numbers", "read_answer"]


def read_answer(answer: Any, *, vocab_size: int) -> tuple[NDArray[np.int32], dict[str, Any]]:
    """Token ids [n] and the fields of meta_info, with the shapes that the client goes on to rely on.

    Raises:
        RetryableError: it is none.

    Examples:
        >>> meta = {"finish_reason": {"type": "length"}, "prompt_tokens": 3, "cached_tokens": 0}
        >>> read_answer({"output_ids": [4, 5], "meta_info": meta}, vocab_size=10)[0]
        array([4, 5], dtype=int32)
        >>> read_answer({"error": "no"}, vocab_size=10)
        Traceback (most recent call last):
        eduprm.core.retry.RetryableError: no answer of the generate route: expected meta_info as an object, got nothing
    """
    if not isinstance(answer, dict):
        raise _no_answer("the answer as an object", answer)
    meta, ids = answer.get("meta_info"), answer.get("output_ids")
    if not isinstance(meta, dict):
        raise _no_answer("meta_info as an object", meta)
    if not isinstance(ids, list) or not all(type(token) is int and 0 <= token < vocab_size for token in ids):
        raise _no_answer(f"output_ids as a list of ids below {vocab_size}", ids)
    reason = meta.get("finish_reason")
    if not isinstance(reason, dict) or "type" not in reason:
        raise _no_answer("finish_reason as an object with a type", reason)
    for name in ("prompt_tokens", "cached_tokens"):
        if type(meta.get(name)) is not int:
            raise _no_answer(f"{name} as a whole number", meta.get(name))
    return np.array(ids, np.int32), meta


def check_numbers(measured: Mapping[str, NDArray[Any]], *, vocab_size: int) -> None:
    """Refuse values of a path's tokens that are no numbers, and runner-ups that are no tokens.

    Raises:
        RetryableError: names the field and the first such token (from 0).
    """
    for name, values in measured.items():
        # -inf is the log-prob of a token that cannot come, a runner-up's where a mask leaves one token.
        bad = np.isnan(values) | (np.isinf(values) if name != "runner_up_logprobs" else values == np.inf)
        if bad.any():
            at = int(bad.argmax())
            raise RetryableError(
                f"expected numbers in {name}, the server gave {values[at]} for token {at}",
                cause=f"no number in {name}",
            )
    runners = measured["runner_up_ids"]
    strange = runners[(runners < 0) | (runners >= vocab_size)]
    if len(strange):
        raise RetryableError(
            f"expected runner_up_ids below {vocab_size}, the server gave {strange[0]}",
            cause="wrong shape: runner_up_ids",
        )


def _no_answer(expected: str, got: Any) -> RetryableError:
    shown = "nothing" if got is None else repr(got)[:80]
    return RetryableError(
        f"no answer of the generate route: expected {expected}, got {shown}",
        cause=f"wrong shape: {expected.partition(' as ')[0]}",
    )
