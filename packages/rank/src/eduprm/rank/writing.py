"""Write chunks that survive a kill, and join them to the output at the end.

For: a work folder beside the output, one finished chunk after another, and the added columns of each layout. Does not
know: how scores or outcomes come about. A chunk is two files; it counts as finished once its notes stand, which are
written after its rows, each atomically. Work of other inputs, PRMs or settings lies under another key, and never mixes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eduprm.core.files import atomic_write, atomic_write_bytes, locked
from eduprm.core.store import content_hash
from eduprm.rank.files import Added, SolutionsFile
from eduprm.rank.layouts import Layout
from eduprm.rank.rows import ADDED_NAMES

if TYPE_CHECKING:
    from eduprm.rank.ranking import Ranked

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


def added_columns(rankings: Sequence[Sequence[Ranked]], layout: Layout, prefix: str) -> list[Added]:
    """The columns to add: to one row per problem, or to one row per solution in the order of the rankings."""
    if layout == "problem":
        ranked = [[_entry(one) for one in ranking] for ranking in rankings]
        chosen = [ranking[0].scored.solution.text for ranking in rankings]
        return [Added(prefix + "ranked", "ranked", ranked), Added(prefix + "chosen", "text", chosen)]
    flat = [one for ranking in rankings for one in ranking]
    values = {
        "rank": Added("", "int", [one.rank for one in flat]),
        "score": Added("", "float", [one.score for one in flat]),
        "chosen": Added("", "bool", [one.rank == 1 for one in flat]),
        "steps": Added("", "texts", [one.scored.steps for one in flat]),
        "step_scores": Added("", "floats", [one.scored.step_scores for one in flat]),
        "final_answer": Added("", "text", [one.final_answer for one in flat]),
        "correct": Added("", "bool", [one.correct for one in flat]),
    }
    return [values[name]._replace(name=prefix + name) for name in ADDED_NAMES[layout]]


def _entry(one: Ranked) -> dict[str, Any]:
    return {
        "index": one.scored.solution.index,
        "score": one.score,
        "steps": one.scored.steps,
        "step_scores": one.scored.step_scores,
        "final_answer": one.final_answer,
        "correct": one.correct,
    }
