"""LoRA adapters that ship with the workspace: data, and where it lies.

What it is for: a policy that solves something, on a machine without a hub. Each adapter's folder holds
`adapter_model.safetensors`, `adapter_config.json` (peft's) and `recipe.toml`, the settings of `uv run apps/warmup` that
made it. It knows no model and reads no weights; `eduprm.search.resolve_model` merges an adapter into its base model.
"""

from pathlib import Path

__all__ = ["ADAPTERS", "adapter_folder"]

ADAPTERS: tuple[str, ...] = ("smollm2-135m-steps",)
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
