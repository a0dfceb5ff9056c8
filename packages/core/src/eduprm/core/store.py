"""What has been computed, by content: files and folders under a hash of all that decides them.

A killed run goes on, and a widened one computes only what is new. Nothing is ever out of date: with another setting
the hash is another. The store does not know what it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eduprm.core.files import sync


class Store:
    """Files or folders in a folder, `KIND/NAME-HASH`, each whole or not at all.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store, key = Store(Path(folder)), {"seed": 1}
        ...     for text in ("made", "not made again"):
        ...         path = store.get("notes", "one", key, lambda path, text=text: path.write_text(text))
        ...     path.read_text()
        'made'
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, kind: str, name: str, key: Mapping[str, Any]) -> Path:
        """Where something stands, whether it does or not."""
        return self.folder / kind / f"{name}-{content_hash(key)}"

    def get(self, kind: str, name: str, key: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Where something stands that was made from this key; made now if it is not there.

        Args:
            kind: folder.
            name: what a reader sees; the hash tells apart.
            key: everything that decides the content, as JSON has it.
            make: called with a path that it makes a file or folder at. The path is the same on every call, so that
                `make` may go on from checkpoints that it keeps beside it; what stands at the path itself is removed.
                One process at a time: see `eduprm.core.files.locked`.

        Raises:
            FileNotFoundError: `make` made nothing. And whatever `make` raises.
        """
        place = self.place(kind, name, key)
        if place.exists():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.partial")
        _remove(partial)
        try:
            make(partial)
            for path in [*partial.rglob("*"), partial]:
                sync(path)  # a name must not outlive its content in a power cut
            os.replace(partial, place)
            sync(place.parent)
        except BaseException:
            _remove(partial)
            raise
        return place


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def content_hash(value: Any) -> str:
    """Twelve hex digits of a JSON value.

    Examples:
        >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1}) != content_hash({"a": 1, "b": 3})
        True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
