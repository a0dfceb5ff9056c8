"""Which PRM is served."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from typing import Any

from eduprm.prm.source import PrmSource
from eduprm.serve.server.settings import ServeSettings
from eduprm.serve.wire import API, ModelInfo

_COMPUTING = ("torch", "transformers", "tokenizers", "eduprm-prm")


def describe(scorer: Any, source: PrmSource, settings: ServeSettings) -> ModelInfo:
    """Which PRM this is; the identity covers its files, form, precision and device, and versions of what computes."""
    weight = next(scorer.model.parameters())
    facts = {
        "prm": source.key(),
        "format": source.format,
        "marks": source.marks.model_dump(),
        "dtype": str(weight.dtype).removeprefix("torch."),
        "device": weight.device.type,
        "versions": {name: version(name) for name in _COMPUTING},
    }
    if source.weights != "full":  # rounded when it was loaded: the parameters that are left do not tell
        facts["weights"] = source.weights
    identity = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return ModelInfo.model_validate(
        {
            **facts,
            "api": API,
            "identity": identity,
            "name": source.name,
            "max_tokens": scorer.max_tokens,
            "limits": settings.limits,
            "solution": source.solution(),
            "steps": (getattr(scorer.model.config, "eduprm", None) or {}).get("steps"),
        }
    )
