"""The page results.md: the run's tables in words that a reader needs. Frames in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eduprm.pipeline.sampling.compare import Comparison
from eduprm.rank.names import rule_label

_BEST_OF = ("prm_min", "prm_last", "prm_product", "prm_mean", "weighted_majority_prm_min")
_PLAIN = ("majority", "weighted_majority_probability", "mean_logprob")


def results_page(comparison: Comparison, facts: dict[str, Any]) -> str:
    """Markdown: what was run, pass@N, best-of-N, tokens, differences, PRMs, and counts of what can be told apart."""
    points, largest = comparison.points, max(comparison.points["n"].to_list())
    parts = [
        "# Results of `uv run apps/bench sampling`",
        _what(facts),
        "## pass@N (any solution right), and tokens per problem",
        _PASS,
        _by_n(points.filter(rule="oracle", prm="")),
        "## Best of N: the PRM edu",
        f"Of {largest} solutions, and the greedy one alone; % of problems right [95 %].",
        _by_rule(points.filter(pl.col("prm") == "edu", pl.col("rule").is_in(_BEST_OF)), largest),
        "Without a PRM:",
        _by_rule(points.filter(pl.col("prm") == "", pl.col("rule").is_in(_PLAIN)), largest),
        "## EDU minus samples",
        _DIFFERENCES,
        *(_differences(comparison.differences, points, rule, prm, largest)
          for rule, prm in (("oracle", ""), ("prm_min", "edu"))),
        _counts(comparison.differences),
        "## PRMs trained on other sets",
        _sets(facts),
        f"Best of {largest} by the smallest step score, each PRM on steps cut as in its training:",
        _by_prm(points.filter(rule="prm_min"), largest),
        *_between_prms(comparison.differences, largest),
        "## PRMs line by line",
        _gold(facts["steps_against_checker"]),
        "## Tokens and time",
        _tokens(points.filter(rule="oracle", prm=""), largest),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


_PASS = (
    "% of problems [95 %]; tokens decoded, each solution by itself or each fork from where it left its tree; in "
    "brackets the distinct ones, which is what samples cost where those that agree so far are decoded as one."
)

_DIFFERENCES = (
    "Points of accuracy, paired by problem and draw, with 95 % intervals over problems and draws. *samples, =tokens*: "
    "as many samples as the tokens of EDU pay for, the one that crosses the budget included (it favours samples). "
    "*samples, =distinct tokens*: likewise, but of each sample only what no earlier one of the problem begins with is "
    "paid (at least one token). *greedy + samples, =tokens*: the greedy solution is paid first, the crossing sample is "
    "left out. Bold: the interval leaves 0 out. Many intervals stand here: one in twenty leaves 0 out by chance."
)


def _what(facts: dict[str, Any]) -> str:
    settings = facts["settings"]
    grid, training = settings["grid"], settings["training"]
    calibrated = ", ".join(f"{nats:.3g} nats for {a} anchors" for a, nats in facts["calibrated"].items())
    seeds = settings["prm"]["seeds"]
    trainings = f"{seeds} training{'s' if seeds > 1 else ''}"
    hardware = facts["hardware"]
    machine = f"{hardware['cores']} cores of {hardware['processor']}, GPUs: {len(hardware['gpus'])}"
    return (
        f"Policy `{settings['policy']['model']}`, task `{settings['problem']['task']}`; **{facts['problems']} held-out "
        f"problems, {grid['seeds']} draws of samples, {trainings} of each PRM**; PRMs trained "
        f"on {settings['problem']['num_train']} other problems ({training['leaves']} leaves, threshold "
        f"{training['threshold']:g}; {training['rollouts']} rollouts a step of a chain, labels {training['target']}). "
        f"Calibrated thresholds: {calibrated or 'none'}. P-EDU stops a branch at a step that scores below "
        f"{grid['stop_quantile']:.0%} of the training trees' beginnings. EDU trees and greedy decoding have no draws. "
        f"Commit {facts['commit']}; {machine}."
    )


def _cell(row: dict[str, Any]) -> str:
    return f"{100 * row['mean']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _by_n(points: pl.DataFrame) -> str:
    ns = sorted(points["n"].unique().to_list())
    rows = []
    for (setting,), own in points.group_by(["setting"], maintain_order=True):
        by_n = {row["n"]: row for row in own.iter_rows(named=True)}
        cells = [
            f"{_cell(by_n[n])}; {by_n[n]['decoded']:.0f} ({by_n[n]['distinct']:.0f})" if n in by_n else ""
            for n in ns
        ]
        rows.append([str(setting), *cells])
    return _table(["", *(f"N = {n}" for n in ns)], rows)


def _by_rule(points: pl.DataFrame, largest: int) -> str:
    shown = points.filter((pl.col("n") == largest) | (pl.col("setting") == "greedy"))
    rules = shown["rule"].unique(maintain_order=True).to_list()
    rows = []
    for (setting,), own in shown.group_by(["setting"], maintain_order=True):
        by_rule = {row["rule"]: row for row in own.iter_rows(named=True)}
        rows.append([str(setting), *(_cell(by_rule[rule]) if rule in by_rule else "" for rule in rules)])
    return _table(["", *map(rule_label, rules)], rows)


def _by_prm(points: pl.DataFrame, largest: int) -> str:
    shown = points.filter((pl.col("n") == largest) | (pl.col("setting") == "greedy"))
    several = shown.filter(pl.col("prm").n_unique().over("setting") > 1)
    prms = shown["prm"].unique(maintain_order=True).to_list()
    rows = []
    for (setting,), own in several.group_by(["setting"], maintain_order=True):
        by_prm = {row["prm"]: row for row in own.iter_rows(named=True)}
        rows.append([str(setting), *(_cell(by_prm[prm]) if prm in by_prm else "" for prm in prms)])
    return _table(["", *prms], rows)


def _between_prms(differences: pl.DataFrame, largest: int) -> list[str]:
    """The PRM edu minus each other, by rule; nothing where it is the only one."""
    own = differences.filter(comparison="PRMs", n=largest).filter(pl.col("rule").is_in(_BEST_OF))
    if not own.height:
        return []
    rules = own["rule"].unique(maintain_order=True).to_list()
    rows = []
    for (setting, against), mine in own.group_by(["setting", "against"], maintain_order=True):
        by_rule = {row["rule"]: row for row in mine.iter_rows(named=True)}
        cells = [_points(by_rule[rule]) if rule in by_rule else "" for rule in rules]
        rows.append([str(setting), f"edu - {against}", *cells])
    text = (
        f"The PRM edu minus another, choosing among the same {largest} solutions, paired by problem and draw:"
    )
    return [text, _table(["", "", *map(rule_label, rules)], rows)]


def _points(row: dict[str, Any]) -> str:
    text = f"{100 * row['mean']:+.1f} [{100 * row['ci_low']:+.1f}, {100 * row['ci_high']:+.1f}]"
    return f"**{text}**" if row["ci_low"] > 0 or row["ci_high"] < 0 else text


def _differences(differences: pl.DataFrame, points: pl.DataFrame, rule: str, prm: str, largest: int) -> str:
    """Against the samples that do best by this rule at the largest N, at every comparison."""
    samples = points.filter(pl.col("family") == "samples", rule=rule, prm=prm, n=largest)
    best = samples.sort("mean", descending=True)["setting"][0]
    own = differences.filter(rule=rule, prm=prm, against=best)
    kinds = own["comparison"].unique(maintain_order=True).to_list()
    ns = sorted(own["n"].unique().to_list())
    rows = []
    for (setting,), mine in own.group_by(["setting"], maintain_order=True):
        cells = {(row["comparison"], row["n"]): row for row in mine.iter_rows(named=True)}
        for kind in kinds:
            rows.append([str(setting), kind, *(_points(cells[kind, n]) for n in ns)])
    title = f"{rule_label(rule)}, against {best} (the best samples by this rule at N = {largest}):"
    return title + "\n\n" + _table(["", "", *(f"N = {n}" for n in ns)], rows)


def _counts(differences: pl.DataFrame) -> str:
    """In how many pairs EDU is above or below, and separably so."""
    rows = []
    for (comparison, rule), own in differences.filter(
        pl.col("rule").is_in(["oracle", "prm_min"]),
        pl.col("prm").is_in(["", "edu"]),
        pl.col("comparison") != "PRMs",
    ).group_by(["comparison", "rule"], maintain_order=True):
        up, down = (own["mean"] > 0).sum(), (own["mean"] < 0).sum()
        sure, lost = (own["ci_low"] > 0).sum(), (own["ci_high"] < 0).sum()
        rows.append([str(comparison), rule_label(str(rule)), *map(str, (own.height, up, sure, down, lost))])
    head = ["", "rule", "pairs", "EDU above", "of them separably", "EDU below", "of them separably"]
    return "All settings, temperatures and N (they are not independent):\n\n" + _table(head, rows)


def _sets(facts: dict[str, Any]) -> str:
    rows = []
    for kind, own in facts["training_sets"].items():
        training = next(prm for name, prm in facts["prms"].items() if name.split("-")[0] == kind)
        rows.append(
            [kind, f"{own['tokens']}", f"{own['decoded']}", f"{own['labels']}", f"{own['mean']:.2f}",
             "" if own["chains"] is None else str(own["chains"]), f"{training['seconds']:.0f}"]
        )  # fmt: skip
    head = ["", "solution tokens", "tokens decoded for it", "labels", "mean label", "chains", "training, s"]
    note = "A prefix that chains share is rolled out once; Math-Shepherd's own accounting would be higher."
    return _table(head, rows) + "\n\n" + note


def _gold(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "Not defined: one half of the held-out solutions holds no wrong line, or only wrong ones."
    first = rows[0]
    text = (
        "ProcessBench's rule on our own solutions: the first line whose equation is false, by the step checker. The "
        "threshold is chosen on half of the problems; the figures are those of the other half "
        f"({first['num_error']} solutions with a false line, {first['num_correct']} without)."
    )
    cells = [
        [str(row["judge"]), "" if row["threshold"] is None else f"{row['threshold']:.3f}",
         *(_share(row, name) for name in ("acc_error", "acc_correct", "f1"))]
        for row in rows
    ]  # fmt: skip
    head = ["", "threshold", "false line found", "true solutions let pass", "F1"]
    return text + "\n\n" + _table(head, cells)


def _share(row: dict[str, Any], name: str) -> str:
    return f"{100 * row[name]:.1f} [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]"


def _tokens(points: pl.DataFrame, largest: int) -> str:
    """Per problem at the largest N."""
    rows = []
    for row in points.filter((pl.col("n") == largest) | (pl.col("setting") == "greedy")).iter_rows(
        named=True
    ):
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
        numbers = (f"{row[name]:.0f}" for name in ("decoded", "distinct", "path"))
        rows.append([row["setting"], f"{row['leaves']:.1f}", *numbers, seconds])
    head = ["per problem", "solutions", "tokens decoded", "distinct", "path by path", "seconds"]
    note = (
        "Seconds are wall-clock of the policy in batches over a shard of problems (P-EDU: with its PRM), measured "
        "beside whatever else the machine did; empty where the setting is the beginning of a larger tree."
    )
    return _table(head, rows) + "\n\n" + note
