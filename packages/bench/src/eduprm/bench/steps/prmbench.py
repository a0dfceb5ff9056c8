"""PRMBench: tell the steps that were spoilt on purpose from the others, per class of error.

Source: PRMBench (arXiv 2501.03124) and its code, ssmisya/PRMBench: `mr_eval/tasks/prmtest_classified/task.py` (rows,
counts, F1) and `mr_visualize/eval_res_view/draw_tabs/form_latex_strs.ipynb` (PRMScore and categories). A step is judged
right where its score is above the threshold, 0.5; steps are pooled within a class, and over all classes for the total;
PRMScore is half the F1 of right steps and half that of wrong ones, for multi_solutions (no wrong step) the first
alone; a category is the plain mean of its classes. Not taken: its "similarity" to the unspoilt solutions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from eduprm.bench.steps.files import Names, open_sources
from eduprm.bench.steps.rows import ITEM_SCHEMA, Items, collect, id_of, short, steps_of, text_of, whole_number
from eduprm.core.records import RowError
from eduprm.rank.bootstrap import hashed_rng, percentile_interval, resample_counts

HUB_NAME = "hitsmy/PRMBench_Preview"
CATEGORIES: dict[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""Classes of error of each category, spelt as the data spell them."""

PRMBENCH_SCHEMA: dict[str, pl.DataType] = {
    **ITEM_SCHEMA,
    "origin": pl.String(),
    "error_steps": pl.List(pl.Int32()),
}
"""Items of PRMBench: part is the class, origin the question before it was changed, error_steps count from 1."""

RESULT_SCHEMA: dict[str, pl.DataType] = {
    "part": pl.String(),
    "num_rows": pl.Int32(),
    "num_right": pl.Int32(),
    "num_wrong": pl.Int32(),
    **{
        name + end: pl.Float64()
        for name in ("prm_score", "f1", "negative_f1", "first_error_acc")
        for end in ("", "_low", "_high")
    },
}
"""A row per class, per category whose classes are all there, and "total"; num_right and num_wrong count gold steps."""

TOTAL = "total"
ONLY_RIGHT = "multi_solutions"


def read_prmbench(sources: Names = HUB_NAME, *, parts: str | Sequence[str] = ()) -> Items:
    """Read PRMBench rows: idx, modified_question, modified_process, error_steps, classification.

    A row with an error step beyond its last step (the data have a few) is rejected: its gold is wrong, though the
    official code lets such a step pass unmet. Step numbers are whole, and may be written as 2.0 or "2".

    Args:
        sources: one or several files or hub names, as `open_sources` takes them.
        parts: only this or these classes; empty: all.

    Raises:
        BenchFileError: a source cannot be used, or holds no usable row.
    """
    columns = ("idx", "modified_question", "modified_process", "error_steps", "classification")
    found = collect(open_sources(sources), _check, columns=columns, schema=PRMBENCH_SCHEMA)
    parts = [parts] if isinstance(parts, str) and parts else parts
    return found if not parts else Items(found.items.filter(pl.col("part").is_in(parts)), found.rejected)


def _check(record: Mapping[str, Any], part: str) -> dict[str, Any]:
    question = text_of(record, "modified_question")
    origin = record.get("original_question")
    steps = steps_of(record, "modified_process")
    return {
        "part": text_of(record, "classification"),
        "id": id_of(record, "idx"),
        "problem": question,
        "steps": steps,
        "origin": origin if isinstance(origin, str) and origin else question,
        "error_steps": _error_steps(record["error_steps"], len(steps)),
    }


def _error_steps(value: Any, num_steps: int) -> list[int]:
    numbers = [whole_number(item) for item in value] if isinstance(value, list) else [None]
    found = [number for number in numbers if number is not None and number >= 1]
    if len(found) < len(numbers):
        raise RowError(f"expected a list of step numbers from 1 in 'error_steps', got {short(value)}")
    if found and max(found) > num_steps:
        raise RowError(
            f"expected step numbers from 1 to {num_steps} in 'error_steps' (there are {num_steps} steps), got "
            f"{max(found)}; mend it, or drop the row"
        )
    return found


def evaluate_prmbench(
    frame: pl.DataFrame, *, seed: int, threshold: float = 0.5, bootstrap: int = 2000
) -> pl.DataFrame:
    """F1 of right and of wrong steps and PRMScore per class, category and in total, with bootstrap intervals.

    Resampled are the original questions, whose variants stay together. F1 is 0 where nothing was found (the official
    code writes -1 where precision and recall are both 0 or undefined); a figure of what does not occur is NaN.

    Args:
        frame: columns of `PRMBENCH_SCHEMA` and scores (a list with one number per step).
        seed: hashed; the same seed and questions give the same resamples.
        threshold: a step is judged right above it.
        bootstrap: number of resamples.

    Returns:
        A frame of `RESULT_SCHEMA`.

    Raises:
        ValueError: no rows, or scores missing, outside [0, 1] or not one a step.

    Examples:
        >>> row = ("confidence", "1", "1?", ["a", "b", "c"], "1?", [3], [0.9, 0.2, 0.1])
        >>> schema = {**PRMBENCH_SCHEMA, "scores": pl.List(pl.Float64)}
        >>> result = evaluate_prmbench(pl.DataFrame([row], schema=schema, orient="row"), seed=0, bootstrap=20)
        >>> result.filter(part="total").select("f1", "negative_f1").row(0)
        (0.6666666666666666, 0.6666666666666666)
    """
    if not frame.height or frame["scores"].null_count():
        raise ValueError("column scores must hold a list for every row, got none or nulls")
    usable = frame.select(
        (pl.col("scores").list.len() == pl.col("steps").list.len())
        & pl.col("scores").list.eval(pl.element().is_between(0, 1).fill_null(value=False)).list.all()
    ).to_series()
    if not usable.all():
        raise ValueError(
            f"expected a score in [0, 1] for each step, got others for id {frame.filter(~usable)['id'][0]!r}"
        )
    ids, counts, classes = _counts(frame, threshold)
    drawn = list(resample_counts(ids, seed=seed, bootstrap=bootstrap))
    figures: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for column, name in enumerate([*classes, TOTAL]):
        mine = counts.sum(axis=1) if name == TOTAL else counts[:, column]
        observed, replicates = mine.sum(axis=0, keepdims=True), np.concatenate([c @ mine for c in drawn])
        figures[name] = _figures(observed, name), _figures(replicates, name)
    rows = [_row(name, _sizes(frame, counts, classes, [name]), *figures[name]) for name in classes]
    for category, members in CATEGORIES.items():
        if set(members) <= set(classes):
            parts = [np.mean([figures[name][kind] for name in members], axis=0) for kind in (0, 1)]
            rows.append(_row(category, _sizes(frame, counts, classes, members), *parts))
    rows.append(_row(TOTAL, _sizes(frame, counts, classes, classes), *figures[TOTAL]))
    return pl.DataFrame(rows, schema=RESULT_SCHEMA, orient="row")


def _counts(frame: pl.DataFrame, threshold: float) -> tuple[list[str], np.ndarray, list[str]]:
    """Questions' keys (sorted), [questions, classes, 6] counts (tp, fp, tn, fn, first errors, found), classes."""
    known = [name for members in CATEGORIES.values() for name in members]
    classes = sorted(frame["part"].unique(), key=lambda n: (known.index(n) if n in known else len(known), n))
    keys = [hashlib.sha256(text.encode()).hexdigest() for text in frame["origin"]]
    ids = sorted(set(keys))
    counts = np.zeros((len(ids), len(classes), 6))
    place, column = {key: index for index, key in enumerate(ids)}, {n: k for k, n in enumerate(classes)}
    for key, part, gold, scores in zip(
        keys, frame["part"], frame["error_steps"].to_list(), frame["scores"].to_list(), strict=True
    ):
        counts[place[key], column[part]] += _count(scores, set(gold), threshold)
    return ids, counts, classes


def _count(scores: Sequence[float], wrong: set[int], threshold: float) -> np.ndarray:
    tp = fp = tn = fn = 0
    for step, score in enumerate(scores, start=1):
        judged_right = score > threshold
        tp += judged_right and step not in wrong
        fp += judged_right and step in wrong
        tn += not judged_right and step in wrong
        fn += not judged_right and step not in wrong
    first = min(wrong, default=len(scores) + 1)
    met = first <= len(scores)
    return np.array([tp, fp, tn, fn, met, met and scores[first - 1] <= threshold], dtype=np.float64)


def _figures(counts: np.ndarray, name: str) -> np.ndarray:
    """[rows, 6] counts to [rows, 4]: PRMScore, F1 of right steps, F1 of wrong ones, share of first errors found."""
    tp, fp, tn, fn, firsts, found = counts.T
    positive = _share(2 * tp, np.where(tp + fn > 0, 2 * tp + fp + fn, 0))
    negative = _share(2 * tn, np.where(tn + fp > 0, 2 * tn + fp + fn, 0))
    score = positive if name == ONLY_RIGHT else (positive + negative) / 2
    return np.stack([score, positive, negative, _share(found, firsts)], axis=1)


def _share(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full_like(bottom, np.nan, dtype=np.float64), where=bottom > 0)


def _sizes(
    frame: pl.DataFrame, counts: np.ndarray, classes: list[str], names: Sequence[str]
) -> tuple[int, int, int]:
    tp, fp, tn, fn = counts[:, [classes.index(name) for name in names], :4].sum(axis=(0, 1))
    return frame.filter(pl.col("part").is_in(list(names))).height, int(tp + fn), int(tn + fp)


def _row(
    part: str, sizes: tuple[int, int, int], observed: np.ndarray, replicates: np.ndarray
) -> tuple[Any, ...]:
    figures: list[float] = []
    for column in range(observed.shape[1]):
        figures += [float(observed[0, column]), *percentile_interval(replicates[:, column])]
    return (part, *sizes, *figures)


def trivial_scores(items: pl.DataFrame, *, seed: int) -> dict[str, list[list[float]]]:
    """Scores of judges that read nothing, by name: what a PRM must beat. Draws are hashes of seed, class and id."""
    lengths = items["steps"].list.len().to_list()
    draws = [
        hashed_rng("prmbench", seed, part, key).random(length).tolist()
        for part, key, length in zip(items["part"], items["id"], lengths, strict=True)
    ]
    return {
        "always right": [[1.0] * length for length in lengths],
        "always wrong": [[0.0] * length for length in lengths],
        "random scores": draws,
    }
