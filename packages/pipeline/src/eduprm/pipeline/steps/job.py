"""What the benchmarks of steps do alike: rows in, scores by way of chunks on disk, files out.

For the order of things between settings and figures.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.bench.steps import (
    BenchFileError,
    Items,
    ScoreStore,
    StepScorer,
    draw_rows,
    find_overlap,
    score_items,
)
from eduprm.core.command_line import UsageError
from eduprm.core.files import atomic_write_bytes, write_json_lines
from eduprm.core.progress import bar, status
from eduprm.core.store import Store
from eduprm.pipeline.steps.settings import StepSettings
from eduprm.pipeline.steps.training import training_problems
from eduprm.prm.default_prm import unnamed_prm
from eduprm.prm.source import PrmPlace, PrmReading, PrmSource
from eduprm.rank.wrapping import wrapped
from eduprm.serve.judge.source import JUDGE, named_place

_COMPUTING = ("eduprm-prm", "torch", "transformers", "tokenizers")


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Rows with scores, rows rejected with the reason, overlap with the training problems (None: not looked for)."""

    rows: pl.DataFrame
    all_rows: pl.DataFrame
    rejected: pl.DataFrame
    overlap: dict[str, Any] | None
    made_from: dict[str, Any]

    @property
    def joined(self) -> pl.DataFrame:
        """The scored rows whose steps had something put between them."""
        return self.rows.filter(pl.col("joiner") != "")

    @property
    def clean(self) -> pl.DataFrame | None:
        """The rows whose problem was not trained on; None if that is all or none of them."""
        if not self.overlap or not self.overlap["ids"]:
            return None
        known = pl.DataFrame(self.overlap["ids"]).select("part", "id")
        left = self.rows.join(known, on=["part", "id"], how="anti", maintain_order="left")
        return left if left.height else None


def prm_name(settings: StepSettings, command: str) -> str:
    """The PRM that --prm names, or the one that is taken without it, as apps/rerank does; a line on stderr says which.

    Raises:
        UsageError: there is none.
    """
    if settings.prm is not None:
        return settings.prm
    name, _, line = unnamed_prm(None)
    print(f"bench {command}: {line}", file=sys.stderr)
    return name


def output_folder(settings: StepSettings, command: str, prm: str) -> Path:
    """Where the run writes."""
    if settings.output is not None:
        return settings.output
    names = [name for name in Path(prm).resolve().parts if name != "/"][-2:]
    if prm == JUDGE:
        names = [JUDGE]
    return Path("runs") / "bench" / "-".join([command, *names])


def take(items: Items, settings: StepSettings) -> Items:
    """Some rows of each part, drawn by a hash of their ids (files come sorted by label), in the order they had.

    Raises:
        UsageError: --parts left none.
    """
    if not items.items.height:
        raise UsageError(f"--parts: no row of {', '.join(settings.parts)} in the data")
    if settings.limit is None:
        return items
    return Items(draw_rows(items.items, settings.limit), items.rejected)


def score(items: Items, settings: StepSettings, folder: Path, prm_name: str) -> Scored:
    """Score all rows, and look for overlap.

    Raises:
        UsageError: there is no PRM, none of the rows fits it, or --train-problems cannot be read.
    """
    prm = named_place(prm_name, settings, settings.judge)
    training = training_problems(settings.train_problems, prm.folder if isinstance(prm, PrmSource) else None)
    place = wrapped(prm, settings)
    with status(f"reading {prm.name}", spinner=False):
        key = {
            "prm": place.key(),
            "settings": settings.model_dump(mode="json", include=set(PrmReading.model_fields)),
            "versions": {name: version(name) for name in _COMPUTING},
        }
    store = ScoreStore(Store(folder), key)
    with bar("scoring", total=items.items.height, unit=" tokens/s", lasting=False) as progress:
        every = score_items(
            items.items,
            partial(_load, place),
            store,
            chunk_rows=settings.chunk_rows,
            done=lambda rows, tokens: progress.advance(rows, work=tokens),
        )
    late = every.filter(pl.col("reason").is_not_null()).select(
        "part", "id", "reason", source=pl.lit("scoring"), row=pl.lit(None, pl.Int64)
    )
    late = late.select(items.rejected.columns)
    rows = every.filter(pl.col("reason").is_null())
    if not rows.height:
        raise UsageError(f"no row could be scored; the first: {late['reason'][0]}")
    overlap = None
    if training is not None:
        found = find_overlap(items.items, training.problems)
        overlap = {
            "training": str(training.place),
            "num_training": found.num_training,
            "rows": found.ids.height,
            "ids": found.ids.select("part", "id").to_dicts(),
        }
    content = hashlib.sha256(json.dumps(items.items.rows(), ensure_ascii=False).encode()).hexdigest()
    return Scored(
        rows=rows,
        all_rows=every,
        rejected=pl.concat([items.rejected, late]),
        overlap=overlap,
        made_from={**key, "rows": content},
    )


def _load(prm: PrmPlace) -> StepScorer:
    with status(f"loading {prm.name}", spinner=False):
        return prm.open()


@contextmanager
def readable() -> Iterator[None]:
    """Turn errors of reading rows into usage errors."""
    try:
        yield
    except BenchFileError as error:
        raise UsageError(f"DATA: {error}") from None


def write_results(folder: Path, scored: Scored, report: Mapping[str, Any], rows: pl.DataFrame) -> None:
    """Write report.json, rows.jsonl and, if any were, rejected.jsonl, each atomically."""
    counts = {
        "rows": scored.all_rows.height,
        "scored": scored.rows.height,
        "rejected": scored.rejected.height,
    }
    whole = {
        **report,
        "counts": counts,
        "joined_rows": scored.joined.height,
        "joiner": scored.joined["joiner"][0] if scored.joined.height else "",
        "overlap": scored.overlap,
        "made_from": scored.made_from,
    }
    atomic_write_bytes(folder / "report.json", (json.dumps(_plain(whole), indent=2) + "\n").encode())
    write_json_lines(folder / "rows.jsonl", rows.iter_rows(named=True))
    if scored.rejected.height:
        write_json_lines(folder / "rejected.jsonl", scored.rejected.iter_rows(named=True))
    else:
        (folder / "rejected.jsonl").unlink(missing_ok=True)  # an earlier run's would speak of these rows


def _plain(value: Any) -> Any:
    """JSON has no NaN: null says that a figure is not defined."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
