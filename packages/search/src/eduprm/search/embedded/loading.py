"""Load a policy's weights onto a device, quietly; what the embedded engine and `score_tokens` run on."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as hf_logging

from eduprm.search.models import resolve_model


def load_policy(
    name: str,
    *,
    device: str | None = None,
    dtype: str | torch.dtype = "auto",
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A causal language model in evaluation mode.

    Args:
        name: bundled model, local folder or hub name.
        device: None for the GPU if there is one, else the CPU.
        dtype: "auto" for what the checkpoint says.
        trust_remote_code: run code that comes with the checkpoint; only if you trust it.
    """
    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            resolve_model(name), dtype=dtype, trust_remote_code=trust_remote_code
        )
    finally:
        if bars:
            hf_logging.enable_progress_bar()
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
