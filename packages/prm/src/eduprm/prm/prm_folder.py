"""Find the PRM and tell it from every other by content; for the apps.

For a clear message before anything heavy is loaded, and the key under which scores are kept.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from eduprm.core.errors import UsageError, first_line
from eduprm.core.files import file_digest
from eduprm.policy import resolve_model

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.py"]


def find_prm(name: str) -> Path:
    """Give the folder of a PRM: a folder's name, that of one that ships, or a hub name, fetched into the hub's cache.

    Raises:
        UsageError: there is none, with what to do.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UsageError(
                f"--prm: {name} holds no config.json, so it is no model; name the folder of a trained PRM"
            )
        return folder
    if folder.exists():
        raise UsageError(f"--prm: {name} is a file; name the folder of a trained PRM")
    if _HUB_NAME.fullmatch(name) and name.count("/") == 1:
        return _from_hub(name)
    if "/" not in name:
        try:
            shipped = Path(resolve_model(name))
        except ValueError as error:
            raise UsageError(f"--prm: {first_line(error)}") from None
        if (shipped / "config.json").is_file():
            return shipped
    raise UsageError(
        f"--prm: no PRM at {name}; train one with `uv run apps/train` (it writes runs/default/prm) "
        "or name a folder, a hub model or a PRM that ships, such as smollm2-135m-steps-prm"
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # the hub's client raises many kinds: not found, gated, offline, network
        raise UsageError(
            f"--prm: {name} is no folder here and could not be fetched from the hub ({first_line(error)}); "
            "name the folder of a trained PRM, such as runs/default/prm"
        ) from None


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files, those of hidden ones left out."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            total.update(f"{name.as_posix()}\0{file_digest(path)}\n".encode())
    return total.hexdigest()
