"""Decoder layers with weights of 8 bits, for scoring in less memory: torchao's, one scale per output row.

Embeddings, norms, the head and the output embedding stay as they are, so the log-probs of a vocabulary lose nothing of
their own. Needs the extra `int8`.
Source: torchao, Int8WeightOnlyConfig and Int8DynamicActivationInt8WeightConfig.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from eduprm.prm.adapters import decoder_layers
from eduprm.prm.model import unwrap

__all__ = ["to_int8"]


def to_int8(model: Any, *, activations: bool = False) -> Any:
    """Replace the weights of the linear layers in the decoder layers, in place, and return the model.

    Args:
        model: a classifier or language model.
        activations: round the layers' inputs to 8 bits too, token by token, so that products are of integers.

    Raises:
        ValueError: torchao is missing, or a model with adapters (a PRM that scores against its reference).
    """
    try:
        from torchao.quantization import (
            Int8DynamicActivationInt8WeightConfig,
            Int8WeightOnlyConfig,
            quantize_,
        )
    except ImportError:
        raise ValueError("int8 weights need torchao: uv sync --extra int8") from None
    if hasattr(model, "peft_config"):
        raise ValueError(
            "expected a model without adapters for int8 weights: this PRM scores against what it was"
        )
    config = Int8DynamicActivationInt8WeightConfig() if activations else Int8WeightOnlyConfig()
    _, layers = decoder_layers(unwrap(model))
    quantize_(layers, config, filter_fn=lambda module, _: isinstance(module, nn.Linear))
    return model
