"""report.html of a benchmark: figures per part and judge, and every row with its gold, verdict and step scores.

For a page of `eduprm.report` from what the commands have computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from eduprm.bench import brier, expected_calibration_error, reliability
from eduprm.pipeline.steps.job import Scored
from eduprm.report import (
    LABEL_NAMES,
    Bin,
    Dot,
    Entry,
    Explorer,
    Fact,
    Figure,
    Filter,
    Mark,
    Page,
    Table,
    bars,
    dots,
    label_shares,
    solution_record,
    write_page,
)
from eduprm.report import reliability as reliability_figure


class Row(NamedTuple):
    """A row of a benchmark as the page shows it: wrong steps from 0 by gold, the first one judged wrong (-1: none)."""

    part: str
    id: str
    problem: str
    steps: list[str]
    scores: list[float]
    wrong: list[int]
    predicted: int

    @property
    def first_wrong(self) -> int:
        """The first wrong step by gold, -1 for none."""
        return min(self.wrong, default=-1)


class Column(NamedTuple):
    """A figure of the results: its column, what it is called."""

    name: str
    label: str


def write_bench_page(
    folder: Path,
    *,
    benchmark: str,
    prm: str,
    threshold: Mapping[str, Any],
    scored: Scored,
    results: Mapping[str, pl.DataFrame],
    columns: Sequence[Column],
    whole: str,
    rows: Sequence[Row],
    first_only: bool,
) -> None:
    """Write report.html.

    Args:
        folder, benchmark, prm: where to, and names.
        threshold: the value, and how it came about if that is told.
        scored: for counts and overlap.
        results: figures by judge, the PRM's first.
        columns: which figures, in order; the first one is the headline.
        whole: the part that stands for all.
        rows: the PRM's.
        first_only: gold marks only the first wrong step, so that nothing is known of those after it.
    """
    how = threshold.get("how")
    explorer = _explorer(rows, threshold=threshold["value"], first_only=first_only)
    num = scored.rejected.height
    rejected = [f"{num:,} rows were rejected and are not shown; see rejected.jsonl."] if num else []
    made_from = [pair for group in ("settings", "versions") for pair in scored.made_from[group].items()]
    page = Page(
        title=f"{benchmark}: {Path(prm).name}",
        subtitle=f"{len(rows):,} rows · threshold {threshold['value']:.4g}{f', {how}' if how else ''} · PRM {prm}",
        facts=_facts(results, columns, whole, scored),
        tables=[_table(results, columns, whole)],
        figures=[*_dots(results, columns, whole), *_score_figures(rows, first_only=first_only), _found(rows)],
        explorer=explorer,
        settings=[(name, str(value)) for name, value in made_from],
        notes=rejected,
    )  # fmt: skip
    write_page(folder / "report.html", page)


def _shown(row: Mapping[str, Any], name: str, *, interval: bool = True) -> str:
    if not math.isfinite(row[name]):
        return "–"
    span = f" [{100 * row[f'{name}_low']:.1f}, {100 * row[f'{name}_high']:.1f}]" if interval else ""
    return f"{100 * row[name]:.1f}{span}"


def _facts(
    results: Mapping[str, pl.DataFrame], columns: Sequence[Column], whole: str, scored: Scored
) -> list[Fact]:
    judge, frame = next(iter(results.items()))
    row = frame.filter(part=whole).row(0, named=True)
    found = []
    for column in columns:
        span = f"95 %: {100 * row[f'{column.name}_low']:.0f} to {100 * row[f'{column.name}_high']:.0f}"
        hint = span if math.isfinite(row[column.name]) else "not defined here"
        value = _shown(row, column.name, interval=False)
        found.append(Fact(label=f"{judge}, {column.label}", value=value, hint=hint))
    head = columns[0]
    trivial = [
        (other.filter(part=whole)[head.name][0], name)
        for name, other in results.items()
        if not name.startswith("PRM")
    ]
    if defined := [judged for judged in trivial if math.isfinite(judged[0])]:
        best, name = max(defined)
        label = f"Best judge that reads nothing, {head.label}"
        found.append(Fact(label=label, value=f"{100 * best:.1f}", hint=name))
    overlap = scored.overlap
    if overlap is not None:
        hint = f"of {scored.all_rows.height:,}"
        found.append(Fact(label="Rows seen in training", value=f"{overlap['rows']:,}", hint=hint))
    return found


def _table(results: Mapping[str, pl.DataFrame], columns: Sequence[Column], whole: str) -> Table:
    body: list[list[str]] = []
    strong: list[tuple[int, int]] = []
    for judge, frame in results.items():
        for row in frame.iter_rows(named=True):
            full = judge == next(iter(results))
            if not full and row["part"] != whole:
                continue
            if full and row["part"] == whole:
                strong = [(len(body), column + 1) for column in range(len(columns))]
            name = f"{judge}, {whole}" if row["part"] == whole else f"{judge}, {row['part']}"
            body.append([name, *(_shown(row, column.name) for column in columns)])
    return Table(
        title="By part and judge, % [95 %]",
        columns=["judge, part", *(column.label for column in columns)],
        rows=body,
        strong=strong,
        note="Judges that read nothing are what a PRM has to beat.",
    )


def _dots(results: Mapping[str, pl.DataFrame], columns: Sequence[Column], whole: str) -> list[Figure]:
    """The headline figure: the PRM part by part, then the others on the whole."""
    head, rows = columns[0], []
    for number, (judge, frame) in enumerate(results.items()):
        for row in frame.iter_rows(named=True):
            if math.isfinite(row[head.name]) and (number == 0 or row["part"] == whole):
                name = f"{judge}, {row['part']}" if number == 0 else judge
                value, low, high = (row[head.name + end] for end in ("", "_low", "_high"))
                rows.append(Dot(name=name, value=value, low=low, high=high, series=int(number > 0)))
    title = f"{head.label} by part and judge"
    return [dots(rows, title=title, x_label=f"{head.label}, 95 % intervals")] if rows else []


def _score_figures(rows: Sequence[Row], *, first_only: bool) -> list[Figure]:
    """Scores of right and wrong steps; after a first wrong step nothing is known where gold marks no other."""
    right: list[float] = []
    wrong: list[float] = []
    for row in rows:
        for at, score in enumerate(row.scores):
            if at in row.wrong:
                wrong.append(score)
            elif not first_only or row.first_wrong < 0 or at < row.first_wrong:
                right.append(score)
    groups = {
        f"{name} ({len(values):,})": label_shares(values)
        for name, values in (("right steps", right), ("wrong steps", wrong))
        if values
    }
    if not groups:
        return []
    note = "Steps after the first wrong one are left out: gold says nothing of them." if first_only else ""
    x_label = "score (0 and 1 exactly, bins between)"
    found = [bars(groups, names=LABEL_NAMES, title="Scores of the steps", x_label=x_label, note=note)]
    scores, labels = [*right, *wrong], [True] * len(right) + [False] * len(wrong)
    bins = [
        Bin(*values) for values in reliability(scores, labels).select("score", "right", "rows").iter_rows()
    ]
    ece, squared = expected_calibration_error(scores, labels), brier(scores, labels)
    note = f"ECE {ece:.3f}, Brier {squared:.3f}, {len(scores):,} steps. Bars: the gap."
    return [*found, reliability_figure(bins, title="Reliability of the steps' scores", note=note)]


_OUTCOMES = ("exact", "too early", "too late", "missed", "none, none said", "false alarm")


def _outcome(row: Row) -> str:
    gold, said = row.first_wrong, row.predicted
    if gold < 0:
        return "none, none said" if said < 0 else "false alarm"
    if said < 0:
        return "missed"
    return "exact" if said == gold else "too early" if said < gold else "too late"


def _found(rows: Sequence[Row]) -> Figure:
    outcomes = [_outcome(row) for row in rows]
    shares = [outcomes.count(name) / max(1, len(rows)) for name in _OUTCOMES]
    names = ["exact", "too early", "too late", "missed", "quiet", "false alarm"]
    note = "The first step judged wrong against gold. Quiet: no step is wrong and none was judged so."
    return bars(
        {"rows": shares}, names=names, title="Where the first wrong step was seen", x_label="", note=note
    )


def _explorer(rows: Sequence[Row], *, threshold: float, first_only: bool) -> Explorer:
    parts = sorted({row.part for row in rows})
    filters = [*(Filter(name, name) for name in _OUTCOMES), *(Filter(f"part {name}", name) for name in parts)]
    explorer = Explorer(
        kind="steps",
        title="Rows",
        filters=filters,
        threshold=threshold,
        left_out="All scores are in rows.jsonl.",
    )
    for row in rows:
        outcome = _outcome(row)
        mark: Mark = "right" if outcome in ("exact", "none, none said") else "wrong"
        solution = solution_record(
            row.steps, row.scores, gold_wrong=row.wrong, first_only=first_only, predicted=row.predicted
        )
        explorer.add(
            Entry(
                id=f"{row.part} · {row.id}",
                text=row.problem,
                badge=f"{len(row.steps)} steps",
                mark=mark,
                tags={outcome, f"part {row.part}"},
                record={"solutions": [solution], "left_out": 0},
            )
        )
    return explorer
