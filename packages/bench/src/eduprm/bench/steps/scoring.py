"""Score the steps of benchmark rows with a PRM, each solution in one forward pass, in chunks that survive a kill.

A chunk is kept under a hash of all that decides its scores: the PRM's content, the settings and versions that the
caller names, and the rows' problems and steps. So a run takes up exactly the chunks that it would have computed,
whatever was judged before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import polars as pl

from eduprm.bench.steps.rows import drawing_order
from eduprm.core.store import Store

_FORMAT = 2  # raise when what a chunk holds changes, so that older ones are not taken up
_CHUNK = ("scores", "chunk")  # kind and name in the store


class StepResult(Protocol):
    """What became of one solution; `eduprm.prm.StepScores` is one."""

    @property
    def scores(self) -> list[float] | None:
        """One in [0, 1] per step."""

    @property
    def tokens(self) -> int:
        """Of the problem with the solution."""

    @property
    def rejected(self) -> str | None:
        """Why there are no scores."""

    @property
    def joiner(self) -> str:
        """What was put between the steps; "" for nothing."""


class StepScorer(Protocol):
    """What is asked of a PRM; `eduprm.prm.ProcessRewardModel` is one."""

    def score_steps(self, solutions: Sequence[tuple[str, Sequence[str]]], /) -> Sequence[StepResult]:
        """One result for each (problem, steps), in order."""


class RowScore(NamedTuple):
    """Scores of a row's steps and the tokens read, or why there are none; `joiner`: what was put between its steps."""

    scores: list[float] | None
    tokens: int
    reason: str | None
    joiner: str = ""


class ScoreStore:
    """Chunks of scores by content.

    Args:
        store: where they stand.
        key: everything besides the rows that decides a score, as JSON has it.
    """

    def __init__(self, store: Store, key: Mapping[str, Any]) -> None:
        self._store, self._key = store, {"format": _FORMAT, **key}

    def read(self, rows: Sequence[tuple[str, Sequence[str]]]) -> list[RowScore] | None:
        """Scores of these (problem, steps), None if they are not there."""
        path = self._store.place(*_CHUNK, self._whole(rows))
        return [RowScore(*row) for row in json.loads(path.read_bytes())] if path.is_file() else None

    def write(self, rows: Sequence[tuple[str, Sequence[str]]], scores: Sequence[RowScore]) -> None:
        """Keep the scores of these rows."""
        data = json.dumps(list(scores), allow_nan=False).encode()
        self._store.get(*_CHUNK, self._whole(rows), lambda path: path.write_bytes(data))

    def _whole(self, rows: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
        return {**self._key, "rows": [[problem, list(steps)] for problem, steps in rows]}


def score_items(
    items: pl.DataFrame,
    load: Callable[[], StepScorer],
    store: ScoreStore,
    *,
    chunk_rows: int = 32,
    done: Callable[[int, int], None] = lambda rows, tokens: None,
) -> pl.DataFrame:
    """Score every row, taking up the chunks that the store holds.

    Args:
        items: with columns part, id, problem and steps.
        load: gives the PRM; called once, and only if some chunk is not there.
        store: where chunks are kept.
        chunk_rows: rows between two writes; a killed run loses at most these.
        done: called with the rows of each chunk and the tokens read for it now (0: it was taken up).

    Returns:
        The items with scores (a list with one number per step, null if rejected), num_tokens, reason (null, or why
        the row was rejected: it cannot be tokenised, or is longer than the PRM's context) and joiner (what the PRM's
        training had between steps and this row lacked, so that it was added; "" for nothing).

    Raises:
        ValueError: chunk_rows below 1.
    """
    if chunk_rows < 1:
        raise ValueError(f"chunk_rows must be at least 1, got {chunk_rows}")
    pairs = list(zip(items["problem"].to_list(), items["steps"].to_list(), strict=True))
    prm: StepScorer | None = None
    results: dict[int, RowScore] = {}
    for indices in _chunks(items, chunk_rows):
        rows = [pairs[index] for index in indices]
        chunk = store.read(rows)
        fresh = chunk is None
        if chunk is None:
            prm = prm or load()
            chunk = _score_chunk(prm, rows)
            store.write(rows, chunk)
        results.update(zip(indices, chunk, strict=True))
        done(len(rows), sum(row.tokens for row in chunk) if fresh else 0)
    found = [results[index] for index in range(len(pairs))]
    return items.with_columns(
        pl.Series("scores", [row.scores for row in found], dtype=pl.List(pl.Float64)),
        pl.Series("num_tokens", [row.tokens for row in found], dtype=pl.Int32),
        pl.Series("reason", [row.reason for row in found], dtype=pl.String),
        pl.Series("joiner", [row.joiner for row in found], dtype=pl.String),
    )


def _chunks(items: pl.DataFrame, size: int) -> Iterator[list[int]]:
    """Indices of rows of one part, in drawing order, so that a larger draw or more parts keep the chunks they had."""
    for indices in drawing_order(items).values():
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def _score_chunk(prm: StepScorer, rows: Sequence[tuple[str, Sequence[str]]]) -> list[RowScore]:
    results = prm.score_steps(rows)
    return [
        RowScore(one.scores, 0 if one.scores is None else one.tokens, one.rejected, one.joiner)
        for one in results
    ]
