"""What a run has computed, by content: tables under a hash of all that decides them.

For: a killed run that goes on, and a widened grid that computes only what is new. Nothing is ever out of date: with
another setting the hash is another. Does not know what the tables mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

Tables = dict[str, pl.DataFrame]


class Store:
    """Tables in a folder: `KIND/NAME-HASH/TABLE.parquet`, each set of tables whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, kind: str, name: str, key: Mapping[str, Any]) -> Path:
        """Where something stands, whether it does or not."""
        return self.folder / kind / f"{name}-{content_hash(key)}"

    def tables(self, kind: str, name: str, key: Mapping[str, Any], make: Callable[[], Tables]) -> Tables:
        """The tables that were made from this key; made now if they are not there.

        Args:
            kind: folder.
            name: what a reader sees; the hash tells apart.
            key: everything that decides the tables, as JSON has it.
            make: makes them.
        """
        place = self.place(kind, name, key)
        if not place.is_dir():
            made = make()
            partial = place.with_name(f".{place.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for table, frame in made.items():
                frame.write_parquet(partial / f"{table}.parquet")
            os.replace(partial, place)
        return {path.stem: pl.read_parquet(path) for path in sorted(place.glob("*.parquet"))}


def content_hash(key: Any) -> str:
    """Twelve hex digits of a JSON value.

    Examples:
        >>> content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1}) != content_hash({"a": 1, "b": 3})
        True
    """
    text = json.dumps(key, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def frame_hash(frame: pl.DataFrame) -> str:
    """Hash of a frame's rows and column names."""
    return content_hash([frame.columns, frame.rows()])
