"""LoRA adapters that ship with the workspace: data, and where it lies.

What it is for: a policy that solves something and a PRM that judges it, on a machine without a hub. Each adapter's
folder holds `adapter_model.safetensors`, `adapter_config.json` (peft's, with the name of the model it belongs to)
and `recipe.toml`, the settings that made it: of `uv run apps/warmup` for a policy, of `uv run apps/train` for a
PRM, which has `eduprm.json` besides: how it reads, cuts and scores.
"""

from pathlib import Path

__all__ = ["ADAPTERS", "adapter_folder"]

ADAPTERS: tuple[str, ...] = ("smollm2-135m-steps", "smollm2-135m-steps-prm")
"""Names of the adapters."""


def adapter_folder(name: str) -> Path:
    """Folder of an adapter.

    Raises:
        ValueError: no adapter of that name.

    Examples:
        >>> sorted(path.name for path in adapter_folder("smollm2-135m-steps").iterdir())
        ['adapter_config.json', 'adapter_model.safetensors', 'recipe.toml']
    """
    if name not in ADAPTERS:
        raise ValueError(f"expected an adapter out of {', '.join(ADAPTERS)}, got {name!r}")
    return Path(__file__).parent / name
