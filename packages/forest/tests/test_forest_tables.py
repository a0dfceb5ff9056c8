"""Sets of tables by content: made once, whole or not at all."""

from __future__ import annotations

import polars as pl
import pytest

from eduprm.core.store import Store
from eduprm.forest.tables import frame_hash, stored_tables


def test_tables_are_made_once_per_content(tmp_path):
    store, made = Store(tmp_path), []

    def make(value: int):
        made.append(value)
        return {"rows": pl.DataFrame({"value": [value]}), "more": pl.DataFrame({"x": ["a"]})}

    for value in (1, 2, 1):
        tables = stored_tables(store, "kind", "name", {"value": value}, lambda value=value: make(value))
        assert tables["rows"]["value"].to_list() == [value]
        assert set(tables) == {"rows", "more"}
    assert made == [1, 2]

    def fails():
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        stored_tables(store, "kind", "name", {"value": 3}, fails)
    assert not store.place("kind", "name", {"value": 3}).exists()


def test_a_frame_is_told_by_rows_and_names():
    frame = pl.DataFrame({"a": [1, 2]})
    assert frame_hash(frame) == frame_hash(frame.clone())
    assert len({frame_hash(one) for one in (frame, frame.reverse(), frame.rename({"a": "b"}))}) == 3
