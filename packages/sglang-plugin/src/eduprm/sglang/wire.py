"""What a request says to get entropy, and what its answer carries.

For: the plugin, and any client of SGLang's native `/generate` route or `sgl.Engine.generate`.
Does not know: how the values are computed (`capture`) or brought back (`plugin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: A request asks with `return_entropy`, a field of SGLang's own, or with `sampling_params.custom_params =
#: {"eduprm_entropy": true}`, which `sgl.Engine.generate` takes too, and SGLang's router drops.
ASK = "eduprm_entropy"

#: Keys of `meta_info` with one value per output token, in the order in which `capture` packs them: entropy of
#: the full next-token distribution (nats, raw logits, temperature 1), log-prob of the token emitted, the most
#: probable token other than the one emitted, and its log-prob, all of that same distribution.
FIELDS = ("entropy", "logprob", "runner_up_id", "runner_up_logprob")

#: Key of `meta_info` that holds the plugin's version.
PLUGIN_FIELD = "entropy_plugin"


def asks(sampling_params: Mapping[str, Any] | None) -> bool:
    """Say whether sampling parameters, as a request carries them, ask for entropy.

    Examples:
        >>> asks({"temperature": 0, "custom_params": {"eduprm_entropy": True}})
        True
        >>> asks({"temperature": 0})
        False
    """
    custom = (sampling_params or {}).get("custom_params")
    return isinstance(custom, Mapping) and custom.get(ASK) is True


def with_entropy(sampling_params: Mapping[str, Any]) -> dict[str, Any]:
    """Return sampling parameters that ask for entropy besides what they said.

    Examples:
        >>> with_entropy({"temperature": 0})
        {'temperature': 0, 'custom_params': {'eduprm_entropy': True}}
    """
    custom = sampling_params.get("custom_params") or {}
    return {**sampling_params, "custom_params": {**custom, ASK: True}}
