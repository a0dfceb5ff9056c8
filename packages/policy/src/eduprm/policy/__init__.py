"""Models by name: those that ship, made into folders once, and folders and hub names as they are.

What ships is for a machine without a hub: a policy that solves something and a PRM that judges it, as LoRA adapters of
a small base model. `resolve_model` turns a name into a folder and needs the extra `models` for what ships. Each
adapter's folder holds `adapter_model.safetensors`, `adapter_config.json` (peft's, with the name of the model it belongs
to) and `recipe.toml`, the settings that made it: of `uv run apps/warmup` for a policy, of `uv run apps/train` for a
PRM, which has `eduprm.json` besides: how it reads, cuts and scores.
"""

from eduprm.policy.adapters import ADAPTERS, adapter_folder
from eduprm.policy.longrope import longrope_tokens
from eduprm.policy.models import (
    BUNDLED_MODEL,
    PRM_MODEL,
    STEPS_MODEL,
    cache_folder,
    merged_model,
    put_merged,
    resolve_model,
)

__all__ = [
    "ADAPTERS",
    "BUNDLED_MODEL",
    "PRM_MODEL",
    "STEPS_MODEL",
    "adapter_folder",
    "cache_folder",
    "longrope_tokens",
    "merged_model",
    "put_merged",
    "resolve_model",
]
