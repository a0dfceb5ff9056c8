"""Calibration of a run's PRM: on which questions it is fitted, to what, and what it does on held-out trees.

A score claims how likely a solution that begins so ends right. What is true of that are the ends: every step on the
path of every leaf is a row, and the leaf's grade its outcome. Fitted on a share of the training questions, split off
by a hash: the PRM never sees them, and the held-out ones stay what they are, the judges of the table. Fitting across
folds would use all questions, at the price of a training for each fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from eduprm.bench import score_metrics
from eduprm.core.command_line import UsageError
from eduprm.core.progress import say
from eduprm.core.seeds import derive_seed
from eduprm.forest import leaf_paths
from eduprm.pipeline.label_steps import step_ends
from eduprm.pipeline.prefix_prm import open_prm
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.prm import ProcessRewardModel
from eduprm.prm.calibration import fit_calibration, uncalibrated, write_calibration
from eduprm.prm.calibrations.none import Calibration as NoCalibration
from eduprm.prm.data import TokenSource

RAW = "score_uncalibrated"
"""Column of a scored forest: the score before calibration."""


def held_back(problem_ids: Iterable[str], share: float) -> list[str]:
    """Which questions calibration is fitted on: this share of them, one at least, the same whatever their order.

    Examples:
        >>> len(held_back([f"p{n}" for n in range(10)], 0.2)), held_back(["q"], 0.2)
        (2, ['q'])
    """
    ids = sorted(set(problem_ids), key=lambda own: (derive_seed("calibrate", own), own))
    return ids[: max(1, round(share * len(ids)))] if ids else []


def left_to_train(settings: TrainSettings, labelled: pl.DataFrame) -> pl.DataFrame:
    """The labelled training trees without those that calibration is fitted on.

    Raises:
        UsageError: nothing is left.
    """
    if settings.prm.calibrate == "none":
        return labelled
    held = held_back(labelled["problem_id"].unique(), settings.prm.calibrate_share)
    left = labelled.filter(~pl.col("problem_id").is_in(held))
    if not left.height:
        raise UsageError(
            f"--prm.calibrate {settings.prm.calibrate}: it is fitted on questions that the PRM is not trained on, and "
            f"of {len(held)} none is left; give more problems, or --prm.calibrate none"
        )
    return left


def calibrate(settings: TrainSettings, folder: RunFolder, tokens: TokenSource) -> dict[str, Any]:
    """Fit the calibration of the run's PRM, put it into prm/, and return what is to be said of it.

    Raises:
        UsageError: nothing to fit to.
    """
    kind, share = settings.prm.calibrate, settings.prm.calibrate_share
    labelled = pl.read_parquet(folder.path("labels", "train-*.parquet"))
    held = held_back(labelled["problem_id"].unique(), share)
    trees = labelled.filter(pl.col("problem_id").is_in(held))
    prm = open_prm(folder.path("prm"), settings.policy)
    problems = pl.read_parquet(folder.path("problems.parquet"))
    scored = prm.score_forest(trees, problems, tokens=tokens)
    grades = pl.read_parquet(folder.path("grades", "train-*.parquet"))
    rows = step_outcomes(scored, grades)
    try:
        found = fit_calibration(kind, rows["score"].to_numpy(), rows["gold"].cast(pl.Float64).to_numpy())
    except ValueError as error:
        raise UsageError(f"--prm.calibrate {kind}: {error}") from None
    facts = {"kind": kind, "problems": len(held), "rows": rows.height}
    write_calibration(folder.path("prm"), kind, found, notes=facts)
    say(
        f"prm: {kind} calibration fitted to {rows.height} steps of the solutions of {len(held)} training questions "
        "that were kept out of training"
    )
    return facts


def step_outcomes(scored: pl.DataFrame, grades: pl.DataFrame, *, score: str = "score") -> pl.DataFrame:
    """A row for every step on the path of every graded leaf: problem_id, tree, score, gold (the leaf's grade).

    Steps end where `step_ends` says, whatever they weigh in training: what a filter or the weights of questions leave
    out is no less true, and questions left out for being easy or hopeless would be missing.
    """
    nodes = scored.filter(step_ends(scored) & pl.col(score).is_not_null())
    paths = leaf_paths(scored).select("problem_id", "tree", "leaf", node_id="path").explode("node_id")
    graded = grades.select("problem_id", "tree", "leaf", gold="correct").drop_nulls("gold")
    return (
        paths.join(
            nodes.select("problem_id", "tree", "node_id", score=score), on=["problem_id", "tree", "node_id"]
        )
        .join(graded, on=["problem_id", "tree", "leaf"])
        .select("problem_id", "tree", "score", "gold")
        .sort("problem_id", "tree", maintain_order=True)
    )


def score_trees(
    prm: ProcessRewardModel, labelled: pl.DataFrame, problems: pl.DataFrame, *, tokens: TokenSource
) -> pl.DataFrame:
    """The forest with `score`, and with `RAW` beside it where the PRM is calibrated."""
    raw = uncalibrated(prm).score_forest(labelled, problems, tokens=tokens)
    if isinstance(prm.calibration, NoCalibration):
        return raw
    own = pl.Series("score", prm.calibration(raw["score"].to_numpy())).fill_nan(None)
    return raw.with_columns(own, raw["score"].alias(RAW))


def reliability_of(
    scored: pl.DataFrame, grades: pl.DataFrame, *, tree: str, seed: int, bootstrap: int
) -> dict[str, list[dict[str, Any]]] | None:
    """`eduprm.bench.score_metrics` of a strategy's steps against their ends, before and after calibration.

    None for a PRM without calibration, and where all ends are alike.
    """
    if RAW not in scored.columns:
        return None
    own = scored.filter(tree=tree)
    found = {}
    for when, column in (("before", RAW), ("after", "score")):
        rows = step_outcomes(own, grades, score=column)
        if rows["gold"].n_unique() < 2:
            return None
        found[when] = score_metrics(rows, seed=seed, bootstrap=bootstrap).to_dicts()
    return found
