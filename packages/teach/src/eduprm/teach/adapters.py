"""Adapters on disk: peft's own folder, in half precision and without a path of the machine that made it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import GenerationConfig

from eduprm.core.errors import UsageError, first_line
from eduprm.policy import resolve_model


def stop_token(model: str) -> int:
    """Id of the token that ends an answer.

    Raises:
        UsageError: the model is not there, or its generation_config.json names no such token.
    """
    try:
        stop = GenerationConfig.from_pretrained(resolve_model(model)).eos_token_id
    except (OSError, ValueError) as error:
        raise UsageError(f"--model: {model} cannot be loaded: {first_line(error)}") from None
    if stop is None:
        raise UsageError(f"--model: generation_config.json of {model} names no eos_token_id; add it")
    return int(stop[0] if isinstance(stop, list) else stop)


def save_adapter(adapted: PeftModel, folder: Path, *, model: str) -> None:
    """Write `adapter_model.safetensors` (float16) and `adapter_config.json`, whole or not at all.

    Args:
        adapted: model with its adapter; the adapter's weights are turned to float16.
        folder: must not exist.
        model: name of the base model that goes into the config.
    """
    config: Any = adapted.peft_config["default"]
    config.base_model_name_or_path = model
    config.target_modules = sorted(config.target_modules)  # a set, in any order
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.to(torch.float16)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}", dir=folder.parent))
    adapted.save_pretrained(str(work), save_embedding_layers=False)
    (work / "README.md").unlink(missing_ok=True)  # peft's empty model card
    shutil.rmtree(folder, ignore_errors=True)
    work.chmod(0o755)
    work.rename(folder)
