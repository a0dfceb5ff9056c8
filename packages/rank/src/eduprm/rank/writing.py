"""Write chunks that survive a kill, and join them to the output at the end.

For a work folder beside the output, one finished chunk after another, and the added columns of each layout. A chunk
is two files; it counts as finished once its notes stand, which are written after its rows, each atomically. Work of
other inputs, PRMs or settings lies under another key, and never mixes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.files import atomic_write, atomic_write_bytes, locked
from eduprm.core.store import content_hash
from eduprm.rank.files import Added, SolutionsFile
from eduprm.rank.layouts import Layout
from eduprm.rank.rows import ADDED_NAMES

_FORMAT = 2  # raise when what a chunk holds changes, so that older chunks are not taken up


class WorkFolder:
    """`OUTPUT.work`: the index, the lock, and the chunks of one key.

    Raises:
        UsageError: the place cannot be written, or another run is at work there.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.work")
        self._lock = ExitStack()
        self._lock.enter_context(locked(self.path, "--output"))
        self.chunks = self.path

    def use(self, key: Mapping[str, Any]) -> None:
        """Take up the chunks of this key: everything that decides their content."""
        whole = {"format": _FORMAT, **key}
        self.chunks = self.path / content_hash(whole)
        self.chunks.mkdir(exist_ok=True)
        atomic_write_bytes(self.chunks / "key.json", json.dumps(whole, sort_keys=True).encode())

    def rows_file(self, number: int) -> Path:
        """Where the rows of a chunk stand."""
        return self.chunks / f"chunk-{number:07d}.rows"

    def notes(self, number: int) -> dict[str, Any] | None:
        """What is noted of a finished chunk; None for one that is not finished."""
        path = self.chunks / f"chunk-{number:07d}.json"
        if not path.is_file() or not self.rows_file(number).is_file():
            return None
        return dict(json.loads(path.read_bytes()))

    def write(
        self, number: int, source: SolutionsFile, carriers: Sequence[Any], added: Sequence[Added], notes: Any
    ) -> None:
        """Write a chunk's rows, then its notes."""
        with atomic_write(self.rows_file(number)) as path:
            source.write_chunk(path, carriers, added)
        data = json.dumps(notes).encode()
        atomic_write_bytes(self.chunks / f"chunk-{number:07d}.json", data)

    def assemble(self, source: SolutionsFile, output: Path, count: int) -> None:
        """Join all chunks to the output, which appears whole or not at all."""
        with atomic_write(output) as path:
            source.assemble(path, [self.rows_file(number) for number in range(count)])

    def remove(self) -> None:
        """Take the folder away, with what killed runs of other settings left in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the folder free; it stays only if it holds finished chunks."""
        if not any(self.path.glob("*/chunk-*.json")):
            self.remove()
        self._lock.close()


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
