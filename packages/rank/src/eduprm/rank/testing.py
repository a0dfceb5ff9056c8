"""Files of solutions for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def problems(count: int = 5, **extra: object) -> list[dict[str, Any]]:
    """Rows of one problem each: "n + 1?" with four solutions, of which the second and the last are right."""
    rows = []
    for number in range(count):
        texts = [f"{number} + {k} = {number + k}\nso it is\n#### {number + k}" for k in (2, 1, 3, 1)]
        row = {"id": f"p{number}", "problem": f"{number} + 1?", "solutions": texts, **extra}
        rows.append({**row, "answer": str(number + 1)})
    return rows


def flat(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as rows of one solution each."""
    keep = ("id", "problem", "answer")
    return [{**{k: row[k] for k in keep}, "solution": text} for row in rows for text in row["solutions"]]


def write_jsonl(path: Path, rows: Iterable[dict[str, Any] | str]) -> Path:
    """Write rows; a string stands as it is."""
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rejected(path: Path) -> list[tuple[int, str | None, int | None, str]]:
    """Rejected rows as (row, id, solution, reason)."""
    return [(row["row"], row["id"], row["solution"], row["reason"]) for row in read_jsonl(path)]
