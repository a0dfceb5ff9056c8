"""What the models that settings name hold: a model that was trained again stands under the name that it had."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eduprm.prm.prm_folder import folder_digest

__all__ = ["ADDED", "add_contents", "content"]

_NAMING = ("backbone", "prm")  # settings and options, wherever they stand, whose value is a model's name
ADDED = tuple(f"{name}_content" for name in (*_NAMING, "judge_model"))
"""How the names of the settings end that records did not hold from the beginning."""


def content(name: str | None) -> str | None:
    """SHA-256 of a model's folder; None for a name of the hub, or of a model that ships, which stands for itself.

    Examples:
        >>> content("Qwen/Qwen2.5-Math-1.5B-Instruct") is None
        True
    """
    if not name:
        return None
    folder = Path(os.path.expanduser(name))
    return folder_digest(folder) if folder.is_dir() else None


def add_contents(values: dict[str, Any], read: Callable[[str | None], str | None] = content) -> None:
    """Put `NAME_content` beside each setting that names a model, at any depth.

    Args:
        values: settings as JSON has them; changed.
        read: `content`, or one that remembers folders that it has read.

    Examples:
        >>> options = {"p_edu": {"prm": "org/prm", "stop_below": 0.2}}
        >>> add_contents(options)
        >>> options
        {'p_edu': {'prm': 'org/prm', 'stop_below': 0.2, 'prm_content': None}}
    """
    for name, value in list(values.items()):
        if isinstance(value, dict):
            add_contents(value, read)
        elif name in _NAMING:
            values[f"{name}_content"] = read(value if isinstance(value, str) else None)
