"""Where the LoRA adapters that ship lie."""

from __future__ import annotations

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
