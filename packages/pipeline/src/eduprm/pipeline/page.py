"""report.html of a run: the closing table, the figures that can be read in both themes, and every tree to look into.

For turning a judgement and the run's files into a page of `eduprm.report`. Computes nothing that metrics.json lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eduprm.pipeline.cut_solutions import cut_tables
from eduprm.pipeline.equal_level import over_lines
from eduprm.pipeline.judge import HEADLINE_RULE, Judgement
from eduprm.pipeline.page_figures import three
from eduprm.pipeline.page_trees import run_trees
from eduprm.pipeline.recheck_forks import check_tables
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.server_faults import fault_tables
from eduprm.pipeline.settings import TrainSettings
from eduprm.rank.names import rule_label
from eduprm.report import Fact, Figure, Page, Table, write_page


def write_run_page(
    settings: TrainSettings,
    folder: RunFolder,
    judged: Judgement,
    metrics: dict[str, Any],
    figures: Sequence[Figure],
) -> None:
    """Write report.html."""
    policy = settings.policy.model
    page = Page(
        title=f"EDU-PRM run: {folder.root.resolve().name}",
        subtitle=f"policy {policy} · {_counts(folder)} · threshold {settings.search.threshold:g} nats · "
        f"{settings.search.budget.max_leaves} leaves a tree",
        facts=_facts(metrics),
        tables=[
            _headline_table(metrics),
            _rules_table(metrics),
            *_metric_tables(metrics),
            *cut_tables(metrics["stages"]["search"].get("cut_solutions", {})),
            *fault_tables(metrics["stages"]["search"]),
            *check_tables(metrics["stages"]["search"]),
        ],
        figures=figures,
        explorer=run_trees(settings, folder, judged),
        settings=_settings(folder),
    )
    write_page(folder.path("report.html"), page)


def _counts(folder: RunFolder) -> str:
    problems = pl.read_parquet(folder.path("problems.parquet"), columns=["split"])["split"]
    left_out = folder.facts("label").get("problems_left_out", 0)
    but = f"; {left_out:,} problems left out, whose gold answer the grader does not take" if left_out else ""
    return (
        f"{(problems == 'train').sum():,} training and {(problems == 'test').sum():,} held-out problems{but}"
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _facts(metrics: dict[str, Any]) -> list[Fact]:
    largest = max(row["n"] for row in metrics["rules"])
    rows = {(row["method"], row["rule"]): row for row in metrics["rules"] if row["n"] == largest}
    found = []
    first, equal = metrics["strategies"]["first"], metrics["equal_tokens"]
    wanted = [(first, HEADLINE_RULE, f"{first}, {rule_label(HEADLINE_RULE)}")]
    wanted += [(method, HEADLINE_RULE, f"{method}, {rule_label(HEADLINE_RULE)}") for method in equal]
    wanted += [(first, "oracle", f"{first}, any of {largest} right")]
    for method, rule, label in wanted:
        if row := rows.get((method, rule)):
            span = f"95 %: {100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f}"
            found.append(
                Fact(
                    label=label, value=_percent(row["accuracy"]), hint=f"{span} · {row['problems']} problems"
                )
            )
    for key, name in (("answers_against_grade", "answers"), ("steps_against_checker", "checked steps")):
        values = {row["metric"]: row["value"] for row in metrics[key] or ()}
        if values:
            hint = f"Brier {three(values['brier'])} · ECE {three(values['ece'])}"
            found.append(Fact(label=f"PRM on {name}, AUC", value=three(values["auc"]), hint=hint))
    tokens = {row["method"]: row["decoded"] for row in rows.values()}
    if first in tokens:
        spent = [f"{one['spent_per_problem']:,.0f} by {method}" for method, one in equal.items()]
        found.append(
            Fact(label="Tokens decoded a tree", value=f"{tokens[first]:,.0f}", hint=" · ".join(spent))
        )
    return found


def _headline_table(metrics: dict[str, Any]) -> Table:
    """The PRM beside its rivals, all problems and by task, as the terminal shows it first."""
    rows = metrics["headline"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    cells = {(row["row"], row["group"]): row for row in rows}
    heads = [
        f"{group}\n{next(r['problems'] for r in rows if r['group'] == group)} problems" for group in groups
    ]
    body = []
    for name in dict.fromkeys(row["row"] for row in rows):
        line = [name]
        for group in groups:
            row = cells[name, group]
            gap = f"{100 * row['minus_greedy']:+.1f}"
            line.append(
                f"{100 * row['accuracy']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}] {gap}"
            )
        body.append(line)
    note = "Per cent right with 95 % intervals over problems, and the difference to greedy decoding by the policy."
    return Table(title="Held-out problems", columns=["chosen by", *heads], rows=body, note=note)


def _rules_table(metrics: dict[str, Any]) -> Table:
    rows = metrics["rules"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    largest = {m: max(row["n"] for row in rows if row["method"] == m) for m in methods}
    cells = {(r["rule"], r["method"]): r for r in rows if r["n"] == largest[r["method"]]}
    names = [
        name
        for name in dict.fromkeys(row["rule"] for row in rows)
        if any((name, m) in cells for m in methods)
    ]
    heads = []
    for method in methods:
        one = next(row for (_, m), row in cells.items() if m == method)
        heads.append(f"{method}\nmean {one['candidates']:.1f} candidates\n{one['decoded']:,.0f} tokens each")
    strong = []
    for column, method in enumerate(methods, start=1):
        blind = [
            (cells[name, method]["accuracy"], -at)
            for at, name in enumerate(names)
            if name != "oracle" and (name, method) in cells
        ]
        strong += [(-max(blind)[1], column)] if blind else []
    body = [[rule_label(name), *(_cell(cells.get((name, m))) for m in methods)] for name in names]
    return Table(
        title="Best-of-N on held-out problems",
        columns=["rule", *heads],
        rows=body,
        strong=strong,
        note="Per cent right with 95 % bootstrap intervals over problems; ~k counts problems where only the order of "
        "candidates decided. Bold: the best rule that sees no gold answer."
        + "".join(f" {line}." for line in over_lines(metrics)),
    )


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    ties = f" ~{row['ties']}" if row["ties"] else ""
    return f"{100 * row['accuracy']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]{ties}"


def _metric_tables(metrics: dict[str, Any]) -> list[Table]:
    names = {
        "auc": "AUC",
        "auc_within": "AUC within a problem",
        "brier": "Brier score",
        "ece": "calibration error (ECE)",
        "smooth_ece": "smooth calibration error",
    }
    columns = (
        ("steps_against_checker", "steps against the checker"),
        ("answers_against_grade", "solutions against the grade"),
        ("before", "steps against their ends, before calibration"),
        ("after", "the same after it"),
    )
    frames = {**metrics, **(metrics["calibration"] or {})}
    there = [(key, title) for key, title in columns if frames.get(key)]
    if not there:
        return []
    values = {(key, row["metric"]): row for key, _ in there for row in frames[key]}
    body = [[label, *(_interval(values[key, metric]) for key, _ in there)] for metric, label in names.items()]
    note = "On held-out trees of the first strategy. AUC within a problem matters for choosing among its solutions."
    return [
        Table(
            title="What the PRM's scores are worth",
            columns=["", *(t for _, t in there)],
            rows=body,
            note=note,
        )
    ]


def _interval(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    return f"{row['value']:.3f} [{three(row['ci_low'])}, {three(row['ci_high'])}]"


def _settings(folder: RunFolder) -> list[tuple[str, str]]:
    pairs = [
        pair
        for stage in ("problems", "search", "label", "prm", "report")
        for pair in folder.facts(stage).get("settings", {}).items()
    ]
    pairs += folder.read_json("config.json")["versions"].items()
    return [(name, str(value)) for name, value in pairs]
