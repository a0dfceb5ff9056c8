"""`bench prmbench`: scores, judgements at a fixed threshold, figures per class of error."""

from __future__ import annotations

import polars as pl

from eduprm.bench.steps import evaluate_prmbench, predict_first_wrong, read_prmbench
from eduprm.bench.steps.prmbench import TOTAL, trivial_scores
from eduprm.bench.steps.table import prmbench_table
from eduprm.core.files import locked
from eduprm.pipeline.steps.job import output_folder, prm_name, readable, score, take, write_results
from eduprm.pipeline.steps.page import Column, Row, write_bench_page
from eduprm.pipeline.steps.printing import print_paths, print_rejected, print_summary
from eduprm.pipeline.steps.settings import PrmBenchSettings

_COLUMNS = (
    Column("prm_score", "PRMScore"),
    Column("f1", "F1 right"),
    Column("negative_f1", "F1 wrong"),
    Column("first_error_acc", "first found"),
)


def run(settings: PrmBenchSettings) -> int:
    """Run the command; returns the exit status."""
    with readable():
        items = take(read_prmbench(settings.data, parts=settings.parts), settings)
    prm = prm_name(settings, "prmbench")
    folder = output_folder(settings, "prmbench", prm)
    with locked(folder, "--output"):
        scored = score(items, settings, folder, prm)
        rows = scored.rows
        judges = {"PRM": rows}
        if scored.clean is not None:
            judges["PRM, without overlap"] = scored.clean
        if rows.height < scored.all_rows.height:
            judges["PRM, rejected as wrong"] = _with_rejected(scored.all_rows)
        for name, scores in trivial_scores(rows, seed=settings.seed).items():
            judges[name] = rows.with_columns(scores=pl.Series(scores, dtype=pl.List(pl.Float64)))
        results = {
            name: evaluate_prmbench(
                frame,
                seed=settings.seed,
                # The trivial judges' scores are made for this one.
                threshold=settings.threshold if name.startswith("PRM") else 0.5,
                bootstrap=settings.bootstrap,
            )
            for name, frame in judges.items()
        }
        beyond = pl.col("error_steps").list.max() > pl.col("steps").list.len()
        report = {
            "benchmark": "PRMBench",
            "data": settings.data,
            "prm": prm,
            "threshold": {"value": settings.threshold},
            "rows_with_error_steps_beyond_the_last": rows.filter(beyond).height,
            "results": {name: frame.to_dicts() for name, frame in results.items()},
        }
        write_results(folder, scored, report, rows.select("part", "id", "error_steps", "scores"))
        said = predict_first_wrong(rows["scores"].to_list(), settings.threshold)
        shown = rows.select("part", "id", "problem", "steps", "scores", "error_steps").with_columns(
            said=pl.Series(said, dtype=pl.Int32)
        )
        write_bench_page(
            folder,
            benchmark="PRMBench",
            prm=prm,
            threshold={"value": settings.threshold},
            scored=scored,
            results=results,
            columns=_COLUMNS,
            whole=TOTAL,
            rows=[
                # Error steps count from 1; a few of the data lie beyond the last step.
                Row(part, key, problem, steps, scores, [k - 1 for k in wrong if k <= len(steps)], first)
                for part, key, problem, steps, scores, wrong, first in shown.iter_rows()
            ],
            first_only=False,
        )
    rule = f"threshold {settings.threshold:.4g}: a step is judged right above it"
    print_summary(prmbench_table(results), scored, threshold=rule)
    print_rejected(scored)
    print_paths(folder, scored)
    return 3 if scored.rejected.height else 0


def _with_rejected(rows: pl.DataFrame) -> pl.DataFrame:
    """All rows, every step of a rejected one judged the wrong way round."""
    scores = [
        [float(step in wrong) for step in range(1, len(steps) + 1)] if given is None else given
        for given, steps, wrong in rows.select("scores", "steps", "error_steps").iter_rows()
    ]
    return rows.with_columns(scores=pl.Series(scores, dtype=pl.List(pl.Float64)))
