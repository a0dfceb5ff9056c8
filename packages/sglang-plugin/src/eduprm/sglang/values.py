"""From a request's packed rows to the fields of its answer: lists, or blocks for who asks for them.

A row is one of `eduprm.entropy.sampled_entropy`: int32 [7].
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eduprm.entropy import SAMPLED_WORDS, unpack_sampled
from eduprm.sglang.wire import FIELDS, NULL_ID

ROW_BYTES = 4 * SAMPLED_WORDS
#: Stands for a token whose values the plugin cannot vouch for.
NULL_ROW = struct.pack("=4f3i", *[float("nan")] * 4, NULL_ID, NULL_ID, NULL_ID)


def columns(rows: bytes) -> dict[str, NDArray[Any]]:
    """Return the `FIELDS` of packed rows: float32 [N], and int32 [N] for the runner-up's id.

    A null row has NaN and NULL_ID; a row without a distribution NaN and -1.
    """
    found = unpack_sampled(np.frombuffer(rows, np.int32).reshape(-1, SAMPLED_WORDS))
    # Everything but the token emitted: the likeliest, or the second where the likeliest was emitted.
    other = (found.token_ids == found.top_ids[:, 0]).astype(np.intp)
    other[found.token_ids == NULL_ID] = 0
    at = np.arange(len(other))
    values = (found.entropy_nats, found.logprobs, found.top_ids[at, other], found.top_logprobs[at, other])
    return dict(zip(FIELDS, values, strict=True))


def as_lists(rows: bytes) -> dict[str, list[Any]]:
    """Return the fields as lists of numbers, None where the plugin cannot vouch."""
    found = columns(rows)
    lists: dict[str, list[Any]] = {field: column.tolist() for field, column in found.items()}
    for position in np.flatnonzero(found["runner_up_id"] == NULL_ID):
        for values in lists.values():
            values[position] = None
    return lists


def as_blocks(rows: bytes) -> dict[str, str]:
    """Return each field as one base64 block of little-endian float32 or int32."""
    return {
        field: base64.b64encode(column.astype(column.dtype.newbyteorder("<")).tobytes()).decode()
        for field, column in columns(rows).items()
    }
