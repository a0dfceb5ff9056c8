"""report.html of a run: the closing table, the figures that can be read in both themes, and every tree to look into.

For: turning a judgement and the run's files into a page of `eduprm.report`. Computes nothing that metrics.json lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from eduprm.bench import choose, reliability
from eduprm.bench.names import rule_label
from eduprm.bench.selection import available_rules
from eduprm.report import (
    LABEL_NAMES,
    Bin,
    Entry,
    Explorer,
    Fact,
    Figure,
    Filter,
    Line,
    Page,
    Point,
    Table,
    accuracy_lines,
    bars,
    histogram,
    label_shares,
    training_loss,
    tree_record,
    write_page,
)
from eduprm.report import reliability as reliability_figure
from eduprm.search import PolicyTokenizer
from train_app.judge import EDU, EQUAL, HEADLINE_RULE, Judgement
from train_app.run_folder import RunFolder
from train_app.settings import TrainSettings

_FILTERS = (
    Filter("held-out", "held out"),
    Filter("right", "chosen leaf right"),
    Filter("missed", "wrong choice, a right leaf was there"),
    Filter("hopeless", "no right leaf"),
    Filter("unfinished", "with unfinished leaves"),
    Filter("training", "training"),
)
_KEYS = ["problem_id", "tree"]


def write_run_page(settings: TrainSettings, folder: RunFolder, judged: Judgement, metrics: dict[str, Any]) -> None:
    """Write report.html."""
    policy = settings.policy.model
    page = Page(
        title=f"EDU-PRM run: {folder.root.resolve().name}",
        subtitle=f"policy {policy} · {_counts(folder)} · threshold {settings.search.threshold:g} nats · "
        f"{settings.search.budget.max_leaves} leaves a tree",
        facts=_facts(metrics),
        tables=[_rules_table(metrics), *_metric_tables(metrics)],
        figures=_figures(settings, folder, judged, metrics),
        explorer=_explorer(settings, folder, judged),
        settings=_settings(folder),
    )
    write_page(folder.path("report.html"), page)


def _counts(folder: RunFolder) -> str:
    problems = pl.read_parquet(folder.path("problems.parquet"), columns=["split"])["split"]
    return f"{(problems == 'train').sum():,} training and {(problems == 'test').sum():,} held-out problems"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _facts(metrics: dict[str, Any]) -> list[Fact]:
    largest = max(row["n"] for row in metrics["rules"])
    rows = {(row["method"], row["rule"]): row for row in metrics["rules"] if row["n"] == largest}
    found = []
    for method, rule, label in (
        (EDU, HEADLINE_RULE, f"{EDU}, {rule_label(HEADLINE_RULE)}"),
        (EQUAL, HEADLINE_RULE, f"Samples for as many tokens, {rule_label(HEADLINE_RULE)}"),
        (EDU, "oracle", f"{EDU}, any of {largest} right"),
    ):
        if row := rows.get((method, rule)):
            span = f"95 %: {100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f}"
            found.append(
                Fact(label=label, value=_percent(row["accuracy"]), hint=f"{span} · {row['problems']} problems")
            )
    for key, name in (("last_score_against_grade", "answers"), ("steps_against_checker", "checked steps")):
        values = {row["metric"]: row["value"] for row in metrics[key] or ()}
        if values:
            hint = f"Brier {_three(values['brier'])} · ECE {_three(values['ece'])}"
            found.append(Fact(label=f"PRM on {name}, AUC", value=_three(values["auc"]), hint=hint))
    tokens = {row["method"]: row["decoded"] for row in rows.values()}
    if EDU in tokens:
        spent = metrics["equal_tokens"]["spent_per_problem"]
        found.append(
            Fact(label="Tokens decoded a tree", value=f"{tokens[EDU]:,.0f}", hint=f"{spent:,.0f} by the samples beside it")
        )
    return found


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _rules_table(metrics: dict[str, Any]) -> Table:
    rows = metrics["rules"]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    largest = {m: max(row["n"] for row in rows if row["method"] == m) for m in methods}
    cells = {(r["rule"], r["method"]): r for r in rows if r["n"] == largest[r["method"]]}
    names = [name for name in dict.fromkeys(row["rule"] for row in rows) if any((name, m) in cells for m in methods)]
    heads = []
    for method in methods:
        one = next(row for (_, m), row in cells.items() if m == method)
        heads.append(f"{method}\nmean {one['candidates']:.1f} candidates\n{one['decoded']:,.0f} tokens each")
    strong = []
    for column, method in enumerate(methods, start=1):
        blind = [(cells[name, method]["accuracy"], -at) for at, name in enumerate(names) if name != "oracle" and (name, method) in cells]  # fmt: skip
        strong += [(-max(blind)[1], column)] if blind else []
    body = [[rule_label(name), *(_cell(cells.get((name, m))) for m in methods)] for name in names]
    return Table(
        title="Best-of-N on held-out problems",
        columns=["rule", *heads],
        rows=body,
        strong=strong,
        note="Per cent right with 95 % bootstrap intervals over problems; ~k counts problems where only the order of "
        "candidates decided. Bold: the best rule that sees no gold answer.",
    )


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    ties = f" ~{row['ties']}" if row["ties"] else ""
    return f"{100 * row['accuracy']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]{ties}"


def _metric_tables(metrics: dict[str, Any]) -> list[Table]:
    names = {"auc": "AUC", "auc_within": "AUC within a problem", "brier": "Brier score", "ece": "calibration error (ECE)"}
    columns = (("steps_against_checker", "steps against the checker"), ("last_score_against_grade", "last score against the grade"))  # fmt: skip
    there = [(key, title) for key, title in columns if metrics[key]]
    if not there:
        return []
    values = {(key, row["metric"]): row for key, _ in there for row in metrics[key]}
    body = [
        [label, *(_interval(values[key, metric]) for key, _ in there)] for metric, label in names.items()
    ]
    note = "On held-out EDU trees. AUC within a problem is the one that matters for choosing among its solutions."
    return [Table(title="What the PRM's scores are worth", columns=["", *(t for _, t in there)], rows=body, note=note)]


def _interval(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    return f"{row['value']:.3f} [{_three(row['ci_low'])}, {_three(row['ci_high'])}]"


def _figures(settings: TrainSettings, folder: RunFolder, judged: Judgement, metrics: dict[str, Any]) -> list[Figure]:
    found = [_curves(judged.curves)]
    for frame, key, title in (
        (_last(judged), "last_score_against_grade", "Reliability: last score against the grade"),
        (judged.steps.filter(tree="edu"), "steps_against_checker", "Reliability: scores against checked steps"),
    ):
        if frame.height:
            values = {row["metric"]: row["value"] for row in metrics[key] or ()}
            bins = reliability(frame["score"].to_numpy(), frame["gold"].to_numpy())
            note = f"ECE {_three(values.get('ece'))}, Brier {_three(values.get('brier'))}, {frame.height:,} rows. Bars: the gap."
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
        found.append(bars({"training nodes": shares}, names=LABEL_NAMES, title=title, x_label="label", note=note))
    losses = folder.read_json("training.json")["losses"]
    return [*found, *([training_loss(losses, title="Training of the PRM")] if losses else [])]


def _curves(curves: pl.DataFrame) -> Figure:
    methods = curves["method"].unique(maintain_order=True).to_list()
    lines = []
    for rule in (HEADLINE_RULE, "oracle"):
        for number, method in enumerate(methods):
            rows = curves.filter(method=method, rule=rule).sort("decoded")
            points = [Point(*row) for row in rows.select("decoded", "accuracy", "ci_low", "ci_high").iter_rows()]
            name = f"{method}, {'oracle' if rule == 'oracle' else rule_label(rule)}"
            lines.append(Line(name=name, points=points, series=number, dashed=rule == "oracle"))
    return accuracy_lines(lines, title="Held-out accuracy against tokens decoded")


def _last(judged: Judgement) -> pl.DataFrame:
    scored = judged.leaves.filter((pl.col("tree") == "edu") & (pl.col("step_scores").list.len() > 0))
    return scored.select(score=pl.col("step_scores").list.last(), gold="correct")


def _explorer(settings: TrainSettings, folder: RunFolder, judged: Judgement) -> Explorer:
    candidates = judged.leaves.filter(pl.col("step_scores").is_not_null())
    rules = [name for name in available_rules(candidates) if name != "oracle"] if candidates.height else []
    chosen: dict[tuple[str, str], dict[str, int]] = {}
    for (tree,), rows in candidates.group_by(["tree"], maintain_order=True):
        fitting = [name for name in rules if name != "greedy" or tree in ("edu", "greedy")]
        for rule, problem, leaf in choose(rows, rules=fitting).select("rule", "problem_id", "leaf").iter_rows():
            chosen.setdefault((problem, str(tree)), {})[rule] = leaf
    explorer = Explorer(
        kind="trees",
        title="Trees",
        rules={name: rule_label(name) for name in rules},
        filters=_FILTERS,
        threshold=settings.search.threshold,
        left_out="All of them are in the run's folders scores/ and labels/.",
    )
    decode = _decoder(settings)
    problems = {row["problem_id"]: row for row in pl.read_parquet(folder.path("problems.parquet")).iter_rows(named=True)}
    for split, place in (("test", "scores"), ("train", "labels")):
        for problem_id, trees, answers in _by_problem(folder, split, place):
            records = [
                tree_record(tree, answers=answers.get(name), chosen=chosen.get((problem_id, name)), decode=decode)
                for name, tree in trees
            ]
            explorer.add(_entry(problems[problem_id], split, records))
    return explorer


def _entry(problem: dict[str, Any], split: str, records: list[dict[str, Any]]) -> Entry:
    """A problem with its trees, judged by its first one (EDU, where there is one)."""
    first = records[0]
    grades = [right for _, right in first["answers"].values()]
    tags = {"held-out" if split == "test" else "training"}
    leaf = first["chosen"].get(HEADLINE_RULE)
    right = first["answers"].get(str(leaf), (None, None))[1] if leaf is not None else None
    if not any(grades):
        tags.add("hopeless")
    if right is not None:
        tags.add("right" if right else "missed" if any(grades) else "wrong")
    if "length" in first["finish"]:
        tags.add("unfinished")
    return Entry(
        id=problem["problem_id"],
        text=problem["question"],
        answer=problem["answer"],
        badge=f"{sum(map(bool, grades))}/{len(grades)}",
        mark="none" if right is None else "right" if right else "wrong",
        tags=tags,
        record={"trees": records},
    )


_Answers = dict[str, dict[int, tuple[str | None, bool | None]]]


def _by_problem(
    folder: RunFolder, split: str, place: str
) -> Iterator[tuple[str, list[tuple[str, pl.DataFrame]], _Answers]]:
    """Problem by problem, a shard at a time: its trees, EDU first, and the graded answers of their leaves."""
    for path in sorted(folder.path(place).glob(f"{split}-*.parquet")):
        nodes, grades = pl.read_parquet(path), pl.read_parquet(folder.path("grades", path.name))
        graded = grades.partition_by("problem_id", as_dict=True)
        for (problem_id,), rows in nodes.partition_by("problem_id", as_dict=True, maintain_order=True).items():
            trees = [(str(name), tree) for (name,), tree in rows.partition_by("tree", as_dict=True, maintain_order=True).items()]
            answers: _Answers = {}
            for tree, leaf, answer, correct in graded[problem_id,].select("tree", "leaf", "answer", "correct").iter_rows():
                answers.setdefault(tree, {})[leaf] = (answer, correct)
            yield str(problem_id), sorted(trees, key=lambda item: item[0] != "edu"), answers


def _decoder(settings: TrainSettings) -> Callable[[list[int]], str] | None:
    """The policy's tokenizer, for texts of single tokens; None where it is not to be had any more."""
    try:
        trust = settings.policy.trust_remote_code
        return PolicyTokenizer(settings.policy.model, trust_remote_code=trust).decode
    except (OSError, ValueError):
        return None


def _settings(folder: RunFolder) -> list[tuple[str, str]]:
    config = folder.read_json("config.json")
    stages = [pair for stage in ("problems", "search", "label", "prm", "report") for pair in folder.facts(stage).get("settings", {}).items()]  # fmt: skip
    return [(name, str(value)) for name, value in stages] + [(name, str(value)) for name, value in config["versions"].items()]  # fmt: skip
