"""What the tests of this app share: a tiny PRM, files of solutions, and a way to run the app in a folder of its own.

For: tests only. Does not know: anything real.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from rerank_app.cli import main

CONTEXT = 256
"""Tokens (bytes) that the tiny PRM can read."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random PRM with a byte tokenizer."""
    from eduprm.prm.testing import tiny_prm

    return tiny_prm(tmp_path_factory.mktemp("prm") / "prm", max_position_embeddings=CONTEXT)


@pytest.fixture
def rerank(
    prm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run the app in an empty folder; gives exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([*map(str, arguments), "--prm", str(prm), "--bootstrap", "50"])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


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
