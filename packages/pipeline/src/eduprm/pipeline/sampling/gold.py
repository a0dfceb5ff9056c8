"""PRMs step by step against gold labels: ProcessBench's rule on the experiment's own held-out solutions.

A step is a line; the step checker says which line is the first whose equation is false. Half of the problems (by a hash
of their ids) choose the threshold, the other half is judged. Frames in, frames out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import polars as pl

from eduprm.bench.steps import choose_threshold, evaluate_processbench, predict_first_wrong
from eduprm.bench.steps.processbench import trivial_predictions
from eduprm.forest import leaf_paths
from eduprm.label import check_steps
from eduprm.search.steps import steps_of_leaves

_KEYS = ["problem_id", "tree", "leaf"]
_FLOORS = ("always right", "always wrong", "random step", "random scores")


def line_items(steps: pl.DataFrame, *, most: int) -> pl.DataFrame:
    """Distinct finished solutions with a score per line and the first wrong line.

    Args:
        steps: marked trees with a column score_line.
        most: solutions taken per problem, the first ones.

    Returns:
        part (choose or judge), id, problem (its id), steps, label (from 0; -1: none), scores. Solutions whose lines the
        tokens do not separate (a token with text on both sides of a line break) are left out.
    """
    leaves = leaf_paths(steps).filter(finish="stop").select(*_KEYS, "text", "path")
    torn = set(steps.filter(_breaks_inside()).select("problem_id", "tree", "node_id").rows())
    scores = steps_of_leaves(steps, "line", "score_line")
    rows: list[dict[str, Any]] = []
    joined = leaves.join(scores, on=_KEYS, how="left", maintain_order="left")
    distinct = joined.unique(["problem_id", "text"], keep="first", maintain_order=True)
    for problem, tree, leaf, text, path, values in distinct.iter_rows():
        lines = check_steps(text)
        if not lines or len(lines) != len(values) or any((problem, tree, node) in torn for node in path):
            continue
        wrong = [place for place, line in enumerate(lines) if line.has_equation and not line.valid]
        half = hashlib.sha256(problem.encode()).digest()[0] % 2
        rows.append(
            {
                "part": "judge" if half else "choose",
                "id": f"{problem}/{tree}/{leaf}",
                "problem": problem,
                "steps": [text[line.start : line.stop] for line in lines],
                "label": wrong[0] if wrong else -1,
                "scores": values,
            }
        )
    schema = {"part": pl.String(), "id": pl.String(), "problem": pl.String(), "steps": pl.List(pl.String())}
    table = pl.DataFrame(
        rows, schema=pl.Schema({**schema, "label": pl.Int32(), "scores": pl.List(pl.Float64())})
    )
    place = pl.int_range(pl.len()).over("problem")
    return table.filter(place < most)


def _breaks_inside() -> pl.Expr:
    """Whether a node holds text behind a line break that does not begin it: a token has text on both sides."""
    text = pl.when("starts_line").then(pl.col("text").str.strip_chars_start()).otherwise("text")
    return text.str.contains(r"\n\s*\S")


def judge_lines(items: Mapping[str, pl.DataFrame], *, seed: int, bootstrap: int) -> pl.DataFrame:
    """F1 of each PRM and of judges that read nothing, on the half that chose no threshold.

    Args:
        items: per PRM, `line_items` of the same solutions.
        seed: of the bootstrap and the random judges.
        bootstrap: resamples.

    Returns:
        judge, threshold, num_error, num_correct, acc_error, acc_correct, f1 with _low and _high; no rows where one of
        the halves lacks solutions of one kind, since F1 is not defined there.
    """
    tables = []
    first = next(iter(items.values()))
    kinds = first.group_by("part").agg(wrong=(pl.col("label") >= 0).any(), right=(pl.col("label") < 0).any())
    if kinds.height < 2 or not kinds.select(pl.all_horizontal("wrong", "right").all()).item():
        return pl.DataFrame()
    for name, frame in items.items():
        chosen, judged = frame.filter(part="choose"), frame.filter(part="judge")
        threshold = choose_threshold(chosen["scores"].to_list(), chosen["label"].to_list()).value
        predictions = predict_first_wrong(judged["scores"].to_list(), threshold)
        tables.append(_judged(name, threshold, judged, predictions, seed, bootstrap))
    trivial = trivial_predictions(first, choose_on="choose", seed=seed)
    for name in _FLOORS:
        rows = first.with_columns(prediction=pl.Series(trivial[name], dtype=pl.Int32)).filter(part="judge")
        tables.append(_judged(name, None, rows, rows["prediction"].to_list(), seed, bootstrap))
    return pl.concat(tables)


def _judged(
    name: str, threshold: float | None, rows: pl.DataFrame, predictions: list[int], seed: int, bootstrap: int
) -> pl.DataFrame:
    frame = rows.with_columns(prediction=pl.Series(predictions, dtype=pl.Int32))
    result = evaluate_processbench(frame, seed=seed, bootstrap=bootstrap).filter(part="judge")
    named = [pl.lit(name).alias("judge"), pl.lit(threshold, dtype=pl.Float64).alias("threshold")]
    return result.select(*named, pl.exclude("part"))
