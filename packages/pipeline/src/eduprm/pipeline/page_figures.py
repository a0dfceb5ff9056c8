"""Figures of report.html: accuracy against tokens, reliability, entropies, labels, the training loss."""

from __future__ import annotations

from typing import Any

import polars as pl

from eduprm.bench import reliability
from eduprm.pipeline.judge import HEADLINE_RULE, Judgement
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.rank.names import rule_label
from eduprm.report import (
    LABEL_NAMES,
    Bin,
    Figure,
    Line,
    Point,
    accuracy_lines,
    bars,
    histogram,
    label_shares,
    training_loss,
)
from eduprm.report import reliability as reliability_figure


def three(value: float | None) -> str:
    """A figure to three digits."""
    return "–" if value is None else f"{value:.3f}"


def run_figures(
    settings: TrainSettings, folder: RunFolder, judged: Judgement, metrics: dict[str, Any]
) -> list[Figure]:
    """All figures that the run has data for."""
    found = [_curves(judged.curves)]
    for frame, key, title in (
        (judged.answers, "answers_against_grade", "Reliability: scores of solutions against the grade"),
        (
            judged.steps.filter(tree=judged.main.tree),
            "steps_against_checker",
            "Reliability: scores against checked steps",
        ),
    ):
        if frame.height:
            values = {row["metric"]: row["value"] for row in metrics[key] or ()}
            bins = reliability(frame["score"].to_numpy(), frame["gold"].to_numpy())
            ece, squared = three(values.get("ece")), three(values.get("brier"))
            note = f"ECE {ece}, Brier {squared}, {frame.height:,} rows. Bars: the gap."
            points = [Bin(*row) for row in bins.select("score", "right", "rows").iter_rows()]
            found.append(reliability_figure(points, title=title, note=note))
    labels = pl.read_parquet(folder.path("labels", "train-*.parquet"), columns=["entropies", "label"])
    entropies = labels["entropies"].explode(empty_as_null=False).to_numpy()
    threshold = settings.search.threshold
    if len(entropies):
        share = f"{float((entropies > threshold).mean()):.1%} of {len(entropies):,} tokens lie above the threshold."
        found.append(
            histogram(
                entropies,
                title="Entropy of the tokens, training trees",
                x_label="entropy (nats)",
                y_label="tokens (log scale)",
                threshold=threshold,
                note=share,
            )
        )
        shares = label_shares(labels["label"].to_numpy())
        note = f"{shares[0] + shares[-1]:.0%} of {labels.height:,} nodes have a hard label (exactly 0 or 1)."
        title = "Labels of the training nodes"
        found.append(
            bars({"training nodes": shares}, names=LABEL_NAMES, title=title, x_label="label", note=note)
        )
    losses = folder.read_json("training.json")["losses"]
    return [*found, *([training_loss(losses, title="Training of the PRM")] if losses else [])]


def _curves(curves: pl.DataFrame) -> Figure:
    methods = curves["method"].unique(maintain_order=True).to_list()
    lines = []
    for rule in (HEADLINE_RULE, "oracle"):
        for number, method in enumerate(methods):
            rows = curves.filter(method=method, rule=rule).sort("decoded")
            points = [
                Point(*row) for row in rows.select("decoded", "accuracy", "ci_low", "ci_high").iter_rows()
            ]
            name = f"{method}, {'any right' if rule == 'oracle' else rule_label(rule)}"
            lines.append(Line(name=name, points=points, series=number, dashed=rule == "oracle"))
    return accuracy_lines(lines, title="Held-out accuracy against tokens decoded")
