"""OUTPUT.report.html: the rules' accuracies, and the problems with their solutions, steps and scores to look into.

For what a chunk notes for the page (within a bound, so that memory and disk do not grow with the file), and the page
made from all notes at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eduprm.rank.names import reads_gold, rule_label
from eduprm.rank.ranking import RankedChunk
from eduprm.rank.rows import Problem
from eduprm.report import (
    Bin,
    Dot,
    Entry,
    Explorer,
    Fact,
    Figure,
    Filter,
    Page,
    Table,
    bars,
    dots,
    reliability,
    solution_record,
    write_page,
)

SHOWN_PROBLEMS = 1000
"""Problems in the page, at most; of each at most so many solutions as `SHOWN_SOLUTIONS`, the best and the chosen."""
SHOWN_SOLUTIONS = 64
_NUM_BINS = 10
_FILTERS = (
    Filter("right", "best-ranked right"),
    Filter("missed", "best-ranked wrong, a right one was there"),
    Filter("hopeless", "none right"),
    Filter("split", "rules disagree on the answer"),
    Filter("ungraded", "without a gold answer"),
)


def page_notes(problems: Sequence[Problem], chunk: RankedChunk, *, before: int) -> dict[str, Any]:
    """What the page needs of a chunk: entries while fewer than `SHOWN_PROBLEMS` came before, and counts of scores.

    The choices of rules that read gold answers are not shown.
    """
    chosen: dict[
        str, dict[int, list[str]]
    ] = {}  # by problem and position, the rules that choose the solution
    for rule, problem, leaf in chunk.choices.select("rule", "problem_id", "leaf").iter_rows():
        if not reads_gold(rule):
            chosen.setdefault(problem, {}).setdefault(leaf, []).append(rule)
    shown = chunk.solutions["problem"].unique(maintain_order=True).head(max(0, SHOWN_PROBLEMS - before))
    rankings = chunk.solutions.filter(pl.col("problem").is_in(shown.implode())).partition_by(
        "problem", maintain_order=True
    )
    return {
        "entries": [
            _entry(problems[number], ranking.to_dicts(), chosen.get(str(problems[number].row), {}))
            for number, ranking in zip(shown, rankings, strict=True)
        ],
        "bins": _bins(chunk.solutions),
    }


def _entry(
    problem: Problem, ranking: Sequence[dict[str, Any]], chosen: dict[int, list[str]]
) -> dict[str, Any]:
    kept = [one for one in ranking if one["rank"] <= SHOWN_SOLUTIONS or one["leaf"] in chosen]
    solutions = [
        solution_record(
            one["steps"],
            one["step_scores"],
            score=one["score"],
            answer=one["final_answer"],
            right=one["correct"],
            rules=chosen.get(one["leaf"], ()),
        )
        for one in kept
    ]
    grades = [one["correct"] for one in ranking if one["correct"] is not None]
    best = ranking[0]["correct"]
    tags = {"ungraded"} if not grades else {"right"} if best else {"missed"} if any(grades) else {"hopeless"}
    picked = {one["final_answer"] for one in ranking if one["leaf"] in chosen}
    badge = f"{sum(grades)}/{len(grades)}" if grades else str(len(ranking))
    return {
        "id": problem.id,
        "text": problem.text[:20_000],
        "answer": problem.answer,
        "badge": badge,
        "mark": "none" if best is None else "right" if best else "wrong",
        "tags": sorted(tags | ({"split"} if len(picked) > 1 else set())),
        "record": {"solutions": solutions, "left_out": len(ranking) - len(kept)},
    }


def _bins(solutions: pl.DataFrame) -> list[list[float]]:
    """Per tenth of the score: graded solutions, right ones, sum of their scores, solutions without a grade."""
    table = np.zeros((_NUM_BINS, 4))
    for score, correct in solutions.select("score", "correct").iter_rows():
        row = min(_NUM_BINS - 1, max(0, int(np.ceil(score * _NUM_BINS)) - 1))
        table[row] += (0, 0, 0, 1) if correct is None else (1, correct, score, 0)
    return [[float(value) for value in row] for row in table]


def write_rank_page(
    path: Path,
    *,
    title: str,
    report: dict[str, Any],
    frame: pl.DataFrame,
    ranked_by: str,
    rules: Sequence[str],
    notes: Iterable[dict[str, Any]],
) -> None:
    """Write the page from the notes of all chunks, in order.

    Args:
        path: the .html file.
        title: heading.
        report: what stands in the report beside it; its times are left out, so that equal runs give equal pages.
        frame: accuracies of the rules, without rows if nothing was graded.
        ranked_by: the rule that ranks.
        rules: all rules.
        notes: what `page_notes` gave.
    """
    explorer = Explorer(
        kind="steps",
        title="Problems and their solutions",
        rules={name: rule_label(name) for name in rules},
        filters=_FILTERS,
        left_out="All are in the ranked file.",
    )
    table = np.zeros((_NUM_BINS, 4))
    for note in notes:
        table += np.array(note["bins"])
        for entry in note["entries"]:
            explorer.add(Entry(**entry))
    missing = []
    if explorer.num_entries < report["problems"]:
        shown = f"The list shows the first {explorer.num_entries:,} of {report['problems']:,} problems"
        missing.append(f"{shown}; all are in the ranked file.")
    sizes = f"{report['problems']:,} problems · {report['solutions']:,} solutions"
    write_page(
        path,
        Page(
            title=title,
            subtitle=f"{sizes} · ranked by {rule_label(ranked_by)} · PRM {report['prm']}",
            facts=_facts(report, frame, ranked_by),
            tables=[_table(frame)] if frame.height else [],
            figures=_figures(frame, table),
            explorer=explorer,
            settings=[(name, str(value)) for name, value in report["made_from"]["settings"].items()],
            notes=missing,
        ),
    )


def _facts(report: dict[str, Any], frame: pl.DataFrame, ranked_by: str) -> list[Fact]:
    found = []
    shown = frame.filter(pl.col("rule").is_in([ranked_by, "majority", "random", "oracle"]))
    for row in shown.iter_rows(named=True):
        hint = f"95 %: {100 * row['ci_low']:.0f} to {100 * row['ci_high']:.0f}"
        found.append(Fact(label=rule_label(row["rule"]), value=f"{100 * row['accuracy']:.1f} %", hint=hint))
    counts = f"{report['graded_problems']:,} with a gold answer"
    found.append(Fact(label="Problems ranked", value=f"{report['problems']:,}", hint=counts))
    if report["rejected"]:
        value = f"{report['rejected']:,}"
        found.append(Fact(label="Rows rejected", value=value, hint="see the rejected file"))
    return found


def _table(frame: pl.DataFrame) -> Table:
    body = [
        [
            rule_label(row["rule"]),
            f"{100 * row['accuracy']:.1f}",
            f"[{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]",
            f"{row['ties']:,}" if row["ties"] else "",
        ]
        for row in frame.iter_rows(named=True)
    ]
    blind = frame.with_row_index("_at").filter(~pl.col("rule").map_elements(reads_gold, pl.Boolean))
    best = int(blind.sort("accuracy", "_at", descending=[True, False])["_at"][0])
    note = "Bold: the best rule that sees no gold answer. Ties: problems where only the file's order decided."
    return Table(
        title="Accuracy by rule",
        columns=["rule", "% right", "95 % interval", "ties"],
        rows=body,
        strong=[(best, 1)],
        note=note,
    )


def _figures(frame: pl.DataFrame, table: np.ndarray) -> list[Figure]:
    found: list[Figure] = []
    if frame.height:
        colours = {"oracle": 2, "first": 1, "random": 1}
        rows = [
            Dot(name=rule_label(rule), value=value, low=low, high=high, series=colours.get(rule, 0))
            for rule, value, low, high in frame.select("rule", "accuracy", "ci_low", "ci_high").iter_rows()
        ]
        found.append(dots(rows, title="Accuracy by rule", x_label="problems right, 95 % intervals"))
    graded, right, _, without = table.T
    if graded.sum():
        points = [Bin(s / g, r / g, int(g)) for g, r, s, _ in table if g]
        ece = sum(abs(s - r) for _, r, s, _ in table) / graded.sum()
        note = f"ECE {ece:.3f} over {int(graded.sum()):,} graded solutions. Bars: the gap."
        found.append(reliability(points, title="Reliability of the solutions' scores", note=note))
    groups = {"right": right, "wrong": graded - right, "not graded": without}
    shares = {name: (values / values.sum()).tolist() for name, values in groups.items() if values.sum()}
    names = [f".{k}" if k < _NUM_BINS else "1" for k in range(1, _NUM_BINS + 1)]
    if shares:
        note = "Share of each kind by tenths of the score; the number below is the upper end of the tenth."
        found.append(
            bars(shares, names=names, title="Scores of the solutions", x_label="score up to", note=note)
        )
    return found
