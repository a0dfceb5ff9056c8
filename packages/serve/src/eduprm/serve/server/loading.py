"""Load the PRM to serve, and say which one it is.

The one module of the service that loads torch. Code out of a checkpoint never runs. It knows neither queue nor HTTP.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eduprm.core.command_line import UsageError, first_line
from eduprm.prm.prm_folder import folder_digest
from eduprm.serve.server.settings import ServeSettings
from eduprm.serve.wire import API, ModelInfo

_COMPUTING = ("torch", "transformers", "tokenizers", "eduprm-prm")


def load_scorer(folder: Path, settings: ServeSettings) -> Any:
    """The PRM of a folder.

    Raises:
        UsageError: the folder holds no PRM that can be loaded.
    """
    from eduprm.prm import load_step_scorer

    try:
        return load_step_scorer(
            folder,
            format=settings.format,
            marks=settings.marks,
            device=settings.device,
            dtype=settings.dtype,
            batch_tokens=settings.batch_tokens,
        )
    except Exception as error:  # transformers, safetensors and tokenizers raise many kinds; the cause is kept
        raise UsageError(f"--prm: {folder} cannot be loaded as a PRM: {first_line(error)}") from error


def describe(scorer: Any, folder: Path, settings: ServeSettings) -> ModelInfo:
    """Which PRM this is; the identity covers its files, form, dtype and device, and the versions of what computes."""
    weight = next(scorer.model.parameters())
    facts = {
        "prm": folder_digest(folder),
        "format": settings.format,
        "marks": settings.marks.model_dump(),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": weight.device.type,
        "versions": {name: version(name) for name in _COMPUTING},
    }
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return ModelInfo.model_validate(
        {
            **facts,
            "api": API,
            "identity": identity,
            "name": settings.prm,
            "max_tokens": scorer.max_tokens,
            "limits": settings.limits,
            "steps": (getattr(scorer.model.config, "eduprm", None) or {}).get("steps"),
        }
    )
