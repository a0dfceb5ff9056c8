"""Values of a token each, as eduprm-sglang sends them: one base64 block a field, or a list from JSON.

A client asks for blocks with `ASK_BLOCKS`; a server behind SGLang's router, which drops it, answers with lists.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eduprm.core.retry import RetryableError
from eduprm.search.contract import EngineMismatchError

#: `custom_params` that asks for blocks.
ASK_BLOCKS = {"eduprm_entropy": "blocks"}
#: Type of each field's numbers, little-endian in a block.
FIELD_TYPES = {"entropy": "<f4", "logprob": "<f4", "runner_up_id": "<i4", "runner_up_logprob": "<f4"}
_NULL_ID = -2  # runner-up of a token whose values the plugin cannot vouch for


def decode_fields(meta: dict[str, Any], count: int) -> dict[str, NDArray[Any]]:
    """Return each of `FIELD_TYPES` as float32 or int32 [count].

    Raises:
        EngineMismatchError: a field is missing, is no block, or does not have `count` values.
        RetryableError: the plugin vouches for only a part of the values, or some are no numbers.
    """
    found: dict[str, Any] = {}
    for field, kind in FIELD_TYPES.items():
        values = meta.get(field)
        found[field] = _from_block(field, values, kind) if isinstance(values, str) else values or ()
    lengths = {field: len(values) for field, values in found.items()}
    if set(lengths.values()) != {count}:
        raise EngineMismatchError(
            f"expected {count} values a token from the plugin {meta.get('entropy_plugin')!r}, got {lengths}; "
            "install the eduprm-sglang of this client's release on the server"
        )
    ids = found["runner_up_id"]
    if (_NULL_ID in ids) or any(isinstance(values, list) and None in values for values in found.values()):
        raise RetryableError(
            "the plugin vouches for only a part of the path's entropies",
            cause="entropies of a part of the path",
        )
    return {field: _numbers(field, found[field], kind) for field, kind in FIELD_TYPES.items()}


def _numbers(field: str, values: Any, kind: str) -> NDArray[Any]:
    try:
        return np.array(values, np.dtype(kind).newbyteorder("="))
    except (TypeError, ValueError, OverflowError):
        raise RetryableError(
            f"expected numbers in {field}, the server gave {str(values)[:60]}", cause=f"no number in {field}"
        ) from None


def _from_block(field: str, block: str, kind: str) -> NDArray[Any]:
    try:
        return np.frombuffer(base64.b64decode(block, validate=True), kind)
    except (binascii.Error, ValueError) as error:
        raise EngineMismatchError(
            f"{field}: expected a base64 block of {kind} numbers from the plugin, got {block[:40]!r} ({error}); "
            "install the eduprm-sglang of this client's release on the server"
        ) from None
