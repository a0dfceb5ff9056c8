"""What a request says to get entropy, and what its answer carries.

For the plugin, and any client of SGLang's native `/generate` route or `sgl.Engine.generate`. Imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: A request asks with `return_entropy`, a field of SGLang's own, or with `sampling_params.custom_params =
#: {"eduprm_entropy": true}`, which `sgl.Engine.generate` takes too, and SGLang's router drops.
ASK = "eduprm_entropy"

#: Value of `custom_params["eduprm_entropy"]` that asks for one base64 block a field instead of a list of numbers:
#: little-endian float32, int32 for `runner_up_id`. A streamed answer holds lists all the same.
BLOCKS = "blocks"

#: In a block, the `runner_up_id` of a token whose values the plugin cannot vouch for (a list holds null).
NULL_ID = -2

#: Keys of `meta_info` with one value per output token: entropy of the full next-token distribution (nats, raw
#: logits, temperature 1), log-prob of the token emitted, the most probable token other than the one emitted, and its
#: log-prob, all of that same distribution.
FIELDS = ("entropy", "logprob", "runner_up_id", "runner_up_logprob")

#: Key of `meta_info` that holds the plugin's version.
PLUGIN_FIELD = "entropy_plugin"

#: Key under which the packed values travel from the scheduler to the tokenizer manager; no answer has it.
TRACE = "eduprm_trace"


def asks(sampling_params: Mapping[str, Any] | None) -> bool:
    """Say whether sampling parameters, as a request carries them, ask for entropy.

    Examples:
        >>> asks({"temperature": 0, "custom_params": {"eduprm_entropy": True}})
        True
        >>> asks({"temperature": 0})
        False
    """
    return asks_params((sampling_params or {}).get("custom_params"))


def asks_params(custom_params: Any) -> bool:
    """Say whether `custom_params` asks for entropy, as lists or as blocks."""
    return isinstance(custom_params, Mapping) and custom_params.get(ASK) in (True, BLOCKS)


def with_entropy(sampling_params: Mapping[str, Any], *, blocks: bool = False) -> dict[str, Any]:
    """Return sampling parameters that ask for entropy besides what they said.

    Examples:
        >>> with_entropy({"temperature": 0})
        {'temperature': 0, 'custom_params': {'eduprm_entropy': True}}
        >>> with_entropy({}, blocks=True)
        {'custom_params': {'eduprm_entropy': 'blocks'}}
    """
    custom = sampling_params.get("custom_params") or {}
    return {**sampling_params, "custom_params": {**custom, ASK: BLOCKS if blocks else True}}
