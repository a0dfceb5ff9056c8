"""ProcessBench: find the first wrong step of a solution, or say that there is none.

Source: ProcessBench (arXiv 2412.06559) and its code, QwenLM/ProcessBench at 04d347e: a prediction is right if it is the
label; per subset, F1 is the harmonic mean of the share right among solutions with an error and among those without; the
headline is the mean over the subsets. Its TRL script calls a step wrong where P(right) is not above P(wrong), hence
"at most the threshold" here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from eduprm.bench.steps.files import Names, open_sources
from eduprm.bench.steps.rows import ITEM_SCHEMA, Items, collect, id_of, short, steps_of, text_of, whole_number
from eduprm.bench.steps.threshold import choose_threshold
from eduprm.core.records import RowError
from eduprm.rank.bootstrap import hashed_rng, percentile_interval, resample_counts

HUB_NAME = "Qwen/ProcessBench"
PROCESSBENCH_SCHEMA: dict[str, pl.DataType] = {**ITEM_SCHEMA, "label": pl.Int32()}
"""Items of ProcessBench; label is the first wrong step, from 0, or -1."""

RESULT_SCHEMA: dict[str, pl.DataType] = {
    "part": pl.String(),
    "num_error": pl.Int32(),
    "num_correct": pl.Int32(),
    **{
        name + end: pl.Float64()
        for name in ("acc_error", "acc_correct", "f1")
        for end in ("", "_low", "_high")
    },
}
"""A row per subset, then one of part "mean" (macro average); _low and _high bound the 95 % interval."""

MEAN = "mean"
_FIGURES = ("acc_error", "acc_correct", "f1")
_NUMBERED = re.compile(r"(.+)-\d+")


def read_processbench(sources: Names = HUB_NAME, *, parts: str | Sequence[str] = ()) -> Items:
    """Read ProcessBench rows: id, problem, steps, label.

    A label is a whole number, which files may write as 1.0 or "1". The subset of a row is its id without the number
    ("gsm8k-12": gsm8k), else the name of its file or split.

    Args:
        sources: one or several files or hub names, as `open_sources` takes them.
        parts: only this or these subsets; empty: all.

    Raises:
        BenchFileError: a source cannot be used, or holds no usable row.
    """
    found = collect(
        open_sources(sources),
        _check,
        columns=("id", "problem", "steps", "label"),
        schema=PROCESSBENCH_SCHEMA,
    )
    parts = [parts] if isinstance(parts, str) and parts else parts
    return found if not parts else Items(found.items.filter(pl.col("part").is_in(parts)), found.rejected)


def _check(record: Mapping[str, Any], part: str) -> dict[str, Any]:
    key, steps, label = id_of(record, "id"), steps_of(record, "steps"), whole_number(record["label"])
    if label is None or not -1 <= label < len(steps):
        raise RowError(
            f"expected a whole number as label from -1 to {len(steps) - 1} (there are {len(steps)} steps), "
            f"got {short(record['label'])}"
        )
    named = _NUMBERED.fullmatch(key)
    return {
        "part": named[1] if named else part,
        "id": key,
        "problem": text_of(record, "problem"),
        "steps": steps,
        "label": label,
    }


def predict_first_wrong(scores: Sequence[Sequence[float]], threshold: float) -> list[int]:
    """The first step of each solution whose score is at most the threshold, -1 if there is none.

    Examples:
        >>> predict_first_wrong([[0.9, 0.5, 0.1], [0.9, 0.8]], 0.5)
        [1, -1]
    """
    return [next((index for index, s in enumerate(row) if s <= threshold), -1) for row in scores]


def evaluate_processbench(frame: pl.DataFrame, *, seed: int, bootstrap: int = 2000) -> pl.DataFrame:
    """Both accuracies and F1 per subset and in the mean, with bootstrap intervals over problems.

    Where both accuracies are 0, F1 is 0 (the official code divides by zero). A figure of a subset without solutions
    of one kind is NaN, and so is the mean. The intervals take the threshold as given.

    Args:
        frame: part, problem, label, prediction.
        seed: hashed; the same seed and problems give the same resamples for every predictor.
        bootstrap: number of resamples.

    Returns:
        A frame of `RESULT_SCHEMA`.

    Raises:
        ValueError: no rows, or nulls.

    Examples:
        >>> rows = [("a", "1?", -1, -1), ("a", "2?", 1, 1), ("a", "3?", 2, 1)]
        >>> frame = pl.DataFrame(rows, schema=["part", "problem", "label", "prediction"], orient="row")
        >>> evaluate_processbench(frame, seed=0, bootstrap=20)["f1"].round(3).to_list()
        [0.667, 0.667]
    """
    wanted = frame.select("part", "problem", "label", "prediction")
    if not wanted.height or wanted.select(pl.all().null_count().sum()).sum_horizontal().item():
        raise ValueError("columns part, problem, label and prediction must hold values, got none or nulls")
    rows, observed, replicates = [], [], []
    for part in wanted["part"].unique(maintain_order=True):
        mine = wanted.filter(part=part)
        counts, ids = _counts_by_problem(mine)
        drawn = resample_counts(ids, seed=seed, bootstrap=bootstrap)
        observed.append(_figures(counts.sum(axis=0, keepdims=True)))
        replicates.append(_figures(np.concatenate([chunk @ counts for chunk in drawn])))
        num_error = mine.filter(pl.col("label") >= 0).height
        rows.append(_row(part, num_error, mine.height - num_error, observed[-1], replicates[-1]))
    num_error, num_correct = (sum(row[column] for row in rows) for column in (1, 2))
    rows.append(_row(MEAN, num_error, num_correct, np.mean(observed, axis=0), np.mean(replicates, axis=0)))
    return pl.DataFrame(rows, schema=RESULT_SCHEMA, orient="row")


def _counts_by_problem(rows: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """[problems, 4]: solutions with an error, of them right, without one, of them right; and the problems' keys."""
    wrong, right = pl.col("label") >= 0, pl.col("label") == pl.col("prediction")
    texts = zip(rows["part"], rows["problem"], strict=True)
    keys = [hashlib.sha256(f"{part}\x1f{problem}".encode()).hexdigest() for part, problem in texts]
    table = (
        rows.group_by(key=pl.Series(keys))
        .agg(
            error=wrong.sum(), found=(wrong & right).sum(), sound=(~wrong).sum(), kept=(~wrong & right).sum()
        )
        .sort("key")
    )
    return table.drop("key").to_numpy().astype(np.float64), table["key"].to_list()


def _figures(counts: np.ndarray) -> np.ndarray:
    """[rows, 4] counts to [rows, 3] figures."""
    error, correct = (_share(counts[:, k + 1], counts[:, k]) for k in (0, 2))
    total = error + correct
    f1 = np.where(total == 0, 0.0, _share(2 * error * correct, total))
    return np.stack([error, correct, f1], axis=1)


def _share(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full_like(bottom, np.nan), where=bottom > 0)


def _row(
    part: str, num_error: int, num_correct: int, observed: np.ndarray, replicates: np.ndarray
) -> tuple[Any, ...]:
    figures: list[float] = []
    for column in range(len(_FIGURES)):
        figures += [float(observed[0, column]), *percentile_interval(replicates[:, column])]
    return (part, num_error, num_correct, *figures)


def trivial_predictions(items: pl.DataFrame, *, choose_on: str | None, seed: int) -> dict[str, list[int]]:
    """Predictions of judges that read nothing, by name: what a PRM must beat.

    "random scores" draws a score per step and goes through the same choice of a threshold as a PRM does: on the subset
    `choose_on`, or 0.5 without one. Draws are hashes of the seed and the row's id.

    Examples:
        >>> rows = [("a", "a-0", "1?", ["x", "y"], 1)]
        >>> judges = trivial_predictions(
        ...     pl.DataFrame(rows, schema=PROCESSBENCH_SCHEMA, orient="row"), choose_on=None, seed=0
        ... )
        >>> judges["always right"], judges["always wrong"], judges["last step"]
        ([-1], [0], [1])
    """
    lengths = items["steps"].list.len().to_list()
    keys = list(zip(items["part"], items["id"], lengths, strict=True))
    rngs = [hashed_rng("processbench", seed, part, key) for part, key, _ in keys]
    scores = [rng.random(length).tolist() for rng, length in zip(rngs, lengths, strict=True)]
    threshold = 0.5
    if choose_on is not None:
        chosen = [index for index, (part, _, _) in enumerate(keys) if part == choose_on]
        labels = items["label"].to_list()
        threshold = choose_threshold(
            [scores[index] for index in chosen], [labels[index] for index in chosen]
        ).value
    return {
        "always right": [-1] * items.height,
        "always wrong": [0] * items.height,
        "last step": [length - 1 for length in lengths],
        "random step": [int(rng.integers(-1, length)) for rng, length in zip(rngs, lengths, strict=True)],
        "random scores": predict_first_wrong(scores, threshold),
    }
