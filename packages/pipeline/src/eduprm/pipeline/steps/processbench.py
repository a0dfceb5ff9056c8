"""`bench processbench`: scores, a threshold, predictions, figures."""

from __future__ import annotations

from typing import Any

import polars as pl

from eduprm.bench.steps import choose_threshold, evaluate_processbench, predict_first_wrong, read_processbench
from eduprm.bench.steps.processbench import MEAN, trivial_predictions
from eduprm.bench.steps.table import processbench_table
from eduprm.core.command_line import UsageError
from eduprm.core.files import locked
from eduprm.pipeline.steps.job import output_folder, prm_name, readable, score, take, write_results
from eduprm.pipeline.steps.page import Column, Row, write_bench_page
from eduprm.pipeline.steps.printing import print_paths, print_rejected, print_summary, print_undefined
from eduprm.pipeline.steps.settings import ProcessBenchSettings

_NEVER = -2  # a prediction that is no label
_FALLBACK = 0.5
_SHOWN = ("part", "id", "problem", "steps", "scores", "label", "prediction")
_COLUMNS = (
    Column("f1", "F1"),
    Column("acc_error", "right step found"),
    Column("acc_correct", "none where none is"),
)


def run(settings: ProcessBenchSettings) -> int:
    """Run the command; returns the exit status."""
    with readable():
        items = take(read_processbench(settings.data, parts=settings.parts), settings)
    _check_choice(settings, items.items)
    prm = prm_name(settings, "processbench")
    folder = output_folder(settings, "processbench", prm)
    with locked(folder, "--output"):
        scored = score(items, settings, folder, prm)
        threshold = _threshold(settings, scored.rows)
        rows = _predict(scored.rows, threshold["value"])
        judges = {"PRM": rows}
        if scored.clean is not None:
            judges["PRM, without overlap"] = _predict(scored.clean, threshold["value"])
        if scored.rows.height < scored.all_rows.height:
            late = scored.all_rows.filter(pl.col("scores").is_null()).with_columns(prediction=pl.lit(_NEVER))
            judges["PRM, rejected as wrong"] = pl.concat([rows, late], how="vertical_relaxed")
        trivial = trivial_predictions(rows, choose_on=threshold["chosen_on"], seed=settings.seed)
        for name, predictions in trivial.items():
            judges[name] = rows.with_columns(prediction=pl.Series(predictions, dtype=pl.Int32))
        results = {
            name: evaluate_processbench(frame, seed=settings.seed, bootstrap=settings.bootstrap)
            for name, frame in judges.items()
        }
        report = {
            "benchmark": "ProcessBench",
            "data": settings.data,
            "prm": prm,
            "threshold": threshold,
            "results": {name: frame.to_dicts() for name, frame in results.items()},
            "own_best": _own_best(rows),
        }
        kept = rows.select("part", "id", "label", "prediction", "scores")
        write_results(folder, scored, report, kept)
        write_bench_page(
            folder,
            benchmark="ProcessBench",
            prm=prm,
            threshold=threshold,
            scored=scored,
            results=results,
            columns=_COLUMNS,
            whole=MEAN,
            rows=[
                Row(part, key, problem, steps, scores, [label] if label >= 0 else [], said)
                for part, key, problem, steps, scores, label, said in rows.select(_SHOWN).iter_rows()
            ],
            first_only=True,
        )
    shown = f"threshold {threshold['value']:.4g}, {threshold['how']}"
    print_summary(processbench_table(results), scored, threshold=shown)
    print_undefined(results["PRM"])
    print_rejected(scored)
    print_paths(folder, scored)
    return 3 if scored.rejected.height else 0


def _predict(rows: pl.DataFrame, threshold: float) -> pl.DataFrame:
    predictions = predict_first_wrong(rows["scores"].to_list(), threshold)
    return rows.with_columns(prediction=pl.Series(predictions, dtype=pl.Int32))


def _check_choice(settings: ProcessBenchSettings, items: pl.DataFrame) -> None:
    """Before anything is scored."""
    if settings.threshold is not None:
        return
    there = items["part"].unique(maintain_order=True).to_list()
    if settings.choose_on not in there:
        raise UsageError(
            f"--choose-on: no subset {settings.choose_on!r} in the data, which hold {', '.join(there)}; "
            "name one of them, or give a --threshold"
        )


def _threshold(settings: ProcessBenchSettings, rows: pl.DataFrame) -> dict[str, Any]:
    """The threshold, and how it came about.

    A subset with solutions of one kind only has no F1 to choose by: then it is 0.5, and that is said.
    """
    threshold = {"value": settings.threshold, "chosen_on": None, "f1_there": None, "how": "given"}
    if settings.threshold is not None:
        return threshold
    mine = rows.filter(part=settings.choose_on)
    wrong = int((mine["label"] >= 0).sum())
    if wrong in (0, mine.height):
        kind = "with" if wrong == 0 else "without"
        how = f"not chosen, since {settings.choose_on} holds no scored solution {kind} an error"
        return threshold | {"value": _FALLBACK, "how": how}
    value, f1 = choose_threshold(mine["scores"].to_list(), mine["label"].to_list())
    how = f"best F1 on the {mine.height} rows of {settings.choose_on}"
    return {"value": value, "chosen_on": settings.choose_on, "f1_there": f1, "how": how}


def _own_best(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Per subset the best that any threshold gives on it: an upper bound, no result."""
    found = []
    for part in rows["part"].unique(maintain_order=True):
        mine = rows.filter(part=part)
        if 0 < (mine["label"] >= 0).sum() < mine.height:
            value, f1 = choose_threshold(mine["scores"].to_list(), mine["label"].to_list())
            found.append({"part": part, "threshold": value, "f1": f1})
    return found
