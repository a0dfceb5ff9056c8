"""Write chunks that survive a kill, and join them to the output at the end.

For a work folder beside the output, one finished chunk after another, and the added columns of each layout. A chunk
is a folder of the content store (`eduprm.core.store`) with its rows and its notes, there whole or not at all. Work of
other inputs, PRMs or settings lies under another key, and never mixes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.files import atomic_write, locked, remove_folder, sweep_beside
from eduprm.core.store import Store, content_hash
from eduprm.rank.files import Added, SolutionsFile
from eduprm.rank.layouts import Layout
from eduprm.rank.rows import ADDED_NAMES

BESIDE = (".rejected.jsonl", ".report.json", ".report.html", ".work")
"""What a run has beside its output: endings put behind the output's name."""
_KIND = "chunks"
_FORMAT = 3  # raise when what a chunk holds changes, so that older chunks are not taken up


class WorkFolder:
    """`OUTPUT.work`: the index, the lock, and the chunks of one key.

    Raises:
        UsageError: the place cannot be written, or another run is at work there.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.work")
        self._lock = ExitStack()
        self._lock.enter_context(locked(self.path, "--output"))
        sweep_beside(output, ("", *BESIDE))
        self._store = Store(self.path)
        self._key: dict[str, Any] = {}

    def use(self, key: Mapping[str, Any]) -> None:
        """Take up the chunks of this key: everything that decides their content."""
        self._key = {"made_from": content_hash({"format": _FORMAT, **key})}

    def rows_file(self, number: int) -> Path:
        """Where the rows of a chunk stand."""
        return self._place(number) / "rows"

    def notes(self, number: int) -> dict[str, Any] | None:
        """What is noted of a finished chunk; None for one that is not finished."""
        folder = self._place(number)
        return dict(json.loads((folder / "notes.json").read_bytes())) if folder.is_dir() else None

    def write(
        self, number: int, source: SolutionsFile, carriers: Sequence[Any], added: Sequence[Added], notes: Any
    ) -> None:
        """Write a chunk's rows and notes, both or neither."""

        def make(folder: Path) -> None:
            folder.mkdir()
            source.write_chunk(folder / "rows", carriers, added)
            (folder / "notes.json").write_bytes(json.dumps(notes).encode())

        self._store.get(_KIND, _name(number), self._key, make)

    def _place(self, number: int) -> Path:
        return self._store.place(_KIND, _name(number), self._key)

    def assemble(self, source: SolutionsFile, output: Path, count: int) -> None:
        """Join all chunks to the output, which appears whole or not at all."""
        with atomic_write(output) as path:
            source.assemble(path, [self.rows_file(number) for number in range(count)])

    def remove(self) -> None:
        """Take the folder away, with what killed runs of other settings left in it."""
        remove_folder(self.path)

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder free; it stays only if it holds finished chunks."""
        if not any(self.path.glob(f"{_KIND}/[!.]*")):
            self.remove()
        self._lock.close()


def _name(number: int) -> str:
    return f"{number:07d}"


def added_columns(solutions: pl.DataFrame, layout: Layout, prefix: str) -> list[Added]:
    """The columns to add: to one row per problem, or to one row per solution, in the order of `solutions`.

    Args:
        solutions: frame of `eduprm.rank.ranking.RANKED_SCHEMA`.
        layout: what a row is.
        prefix: put before the columns' names.
    """
    if layout == "problem":
        entries = solutions.select(
            "index", "score", "steps", "step_scores", "final_answer", "correct"
        ).to_dicts()
        ranked: dict[int, list[dict[str, Any]]] = {}
        for problem, entry in zip(solutions["problem"], entries, strict=True):
            ranked.setdefault(problem, []).append(entry)
        chosen = solutions.filter(pl.col("rank") == 1)["text"].to_list()
        return [
            Added(prefix + "ranked", "ranked", list(ranked.values())),
            Added(prefix + "chosen", "text", chosen),
        ]
    columns = solutions.with_columns(chosen=pl.col("rank") == 1)
    kinds: dict[str, Any] = {
        "rank": "int",
        "score": "float",
        "chosen": "bool",
        "steps": "texts",
        "step_scores": "floats",
        "final_answer": "text",
        "correct": "bool",
    }
    return [Added(prefix + name, kinds[name], columns[name].to_list()) for name in ADDED_NAMES[layout]]
