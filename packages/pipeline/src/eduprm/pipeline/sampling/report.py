"""Write what the experiment says: raw points, summaries and differences as Parquet and CSV, figures, results.md.

Computes nothing but what a table shows.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.files import atomic_write_bytes
from eduprm.core.progress import say
from eduprm.core.provenance import environment
from eduprm.forest import write_table
from eduprm.pipeline.sampling.compare import Comparison
from eduprm.pipeline.sampling.experiment import Experiment
from eduprm.pipeline.sampling.prms import Prm
from eduprm.pipeline.sampling.results import results_page
from eduprm.pipeline.sampling.training import TrainingSets
from eduprm.report.figures import accuracy_against_tokens

if TYPE_CHECKING:
    from eduprm.pipeline.sampling.run import Grown


def write_report(
    experiment: Experiment,
    comparison: Comparison,
    gold: pl.DataFrame,
    sets: TrainingSets,
    prms: list[Prm],
    everything: list[Grown],
) -> None:
    """Write all files of the run, and say where they are."""
    folder = experiment.folder
    for name, table in comparison._asdict().items():
        write_table(table, folder / f"{name}.parquet")
        atomic_write_bytes(folder / f"{name}.csv", table.write_csv().encode())
    facts: dict[str, Any] = {
        "settings": experiment.settings.model_dump(mode="json"),
        **environment(),
        "problems": comparison.tokens["problem_id"].n_unique(),
        "calibrated": {f"{anchors:g}": nats for anchors, nats in sets.calibrated.items()},
        "low_logprob": sets.low_logprob,
        "training_sets": sets.facts,
        "prms": {prm.name: prm.facts for prm in prms},
        "steps_against_checker": gold.to_dicts(),
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    atomic_write_bytes(folder / "report.json", text.encode())
    _figures(experiment, comparison)
    page = results_page(comparison, facts)
    atomic_write_bytes(folder / "results.md", page.encode())
    print(page)
    print(
        f"Everything is in {folder}: results.md, points, differences, outcomes, tokens (.parquet, .csv), figures/"
    )
    say(f"{len(everything)} ways of sampling and draws on {facts['problems']} problems")


def _figures(experiment: Experiment, comparison: Comparison) -> None:
    """One figure per threshold: EDU in both orders, P-EDU and the samples that all PRMs scored."""
    figures = experiment.folder / "figures"
    figures.mkdir(exist_ok=True)
    names = comparison.points.filter(pl.col("family") == "EDU")["setting"].unique(maintain_order=True)
    thresholds = dict.fromkeys(name.split(" ", 2)[2] for name in names)
    samples = [f"samples T={t:g}" for t in experiment.settings.prm.temperatures[:1]]
    for threshold in thresholds:
        own = [name for name in comparison.points["setting"].unique(maintain_order=True)
               if name.endswith(f" {threshold}")]  # fmt: skip
        for rule, prm in (("oracle", ""), ("prm_min", "edu")):
            rows = comparison.points.filter(
                pl.col("setting").is_in([*own, *samples]), pl.col("rule") == rule, pl.col("prm") == prm
            )
            curves = rows.select(
                "rule", "n", "decoded", "ci_low", "ci_high", method="setting", accuracy="mean"
            )
            stem = re.sub(r"[^\w.]+", "-", f"{rule}-{threshold}").strip("-")
            title = f"Held-out accuracy, threshold {threshold}"
            accuracy_against_tokens(curves, figures / f"{stem}.png", title=title)
            once = curves.with_columns(decoded=rows["distinct"])
            title += ": distinct tokens"
            accuracy_against_tokens(once, figures / f"{stem}-distinct.png", title=title)
