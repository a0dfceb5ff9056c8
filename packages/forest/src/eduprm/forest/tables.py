"""Tables in a content store: sets of Parquet files, each set whole or not at all. It does not know what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.store import Store, content_hash

Tables = dict[str, pl.DataFrame]


def stored_tables(
    store: Store, kind: str, name: str, key: Mapping[str, Any], make: Callable[[], Tables]
) -> Tables:
    """The tables that were made from this key, `KIND/NAME-HASH/TABLE.parquet`; made now if they are not there.

    Args:
        store: where they stand.
        kind: folder of the store.
        name: what a reader sees; the hash tells apart.
        key: everything that decides the tables, as JSON has it.
        make: makes them.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store, key = Store(Path(folder)), {"seed": 1}
        ...     for value in (1, 2):
        ...         made = stored_tables(store, "some", "x", key, lambda: {"rows": pl.DataFrame({"value": [value]})})
        ...     made["rows"]["value"].to_list()
        [1]
    """

    def write(place: Path) -> None:
        tables = make()
        place.mkdir()
        for table, frame in tables.items():
            frame.write_parquet(place / f"{table}.parquet")

    place = store.get(kind, name, key, write)
    return {path.stem: pl.read_parquet(path) for path in sorted(place.glob("*.parquet"))}


def frame_hash(frame: pl.DataFrame) -> str:
    """Hash of a frame's rows and column names."""
    return content_hash([frame.columns, frame.rows()])
