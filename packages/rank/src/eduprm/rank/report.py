"""What the run says: the table of rules, messages about rejected rows, and the files beside the output.

For the terminal and OUTPUT.report.json, OUTPUT.rejected.jsonl.
Problems with the same outcome under every rule are only counted, so memory does not grow with their number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from eduprm.core.files import atomic_write, atomic_write_bytes
from eduprm.rank.bootstrap import hashed_rng, percentile_interval
from eduprm.rank.errors import Rejection
from eduprm.rank.evaluate import EVALUATION_SCHEMA
from eduprm.rank.index import Counts
from eduprm.rank.jsonl import dump_line
from eduprm.rank.names import rule_label
from eduprm.rank.ranking import BASELINES
from eduprm.rank.settings import RankSettings
from eduprm.rank.table import results_table

_SHOWN_REJECTIONS = 5
_CELLS = 500_000  # numbers drawn at once: 4 MB


class Accuracies:
    """Collects outcomes of problems, as notes of chunks give them; `rules` are the table's, the oracle last."""

    def __init__(self, rules: Sequence[str]) -> None:
        self._names = (*rules[:-1], *BASELINES, rules[-1])
        self._times: Counter[tuple[float, ...]] = Counter()
        self._ties: Counter[str] = Counter()
        self._solutions = 0
        self._most = 0

    @property
    def problems(self) -> int:
        """Graded problems so far."""
        return self._times.total()

    def add(self, outcomes: Iterable[dict[str, Any]]) -> None:
        """Add the outcomes of a chunk."""
        for outcome in outcomes:
            self._times[tuple(outcome["right"][name] for name in self._names)] += 1
            self._ties.update(outcome["ties"])
            self._solutions += outcome["solutions"]
            self._most = max(self._most, outcome["solutions"])

    def frame(self, *, seed: int, bootstrap: int) -> pl.DataFrame:
        """Accuracy of every rule with its interval over problems; no rows without graded problems."""
        if not self.problems:
            return pl.DataFrame(schema=EVALUATION_SCHEMA)
        kinds = sorted(self._times)
        values = np.array(kinds)
        times = np.array([self._times[kind] for kind in kinds], dtype=np.int64)
        means = times @ values / self.problems
        replicates = np.concatenate(list(_replicates(values, times, seed=seed, bootstrap=bootstrap)))
        rows = []
        for column, name in enumerate(self._names):
            low, high = percentile_interval(replicates[:, column])
            row = {"rule": name, "n": self._most, "candidates": self._solutions / self.problems}
            row |= {"accuracy": float(means[column]), "ci_low": low, "ci_high": high}
            rows.append({**row, "problems": self.problems, "ties": self._ties[name]})
        return pl.DataFrame(rows).select(list(EVALUATION_SCHEMA)).cast(pl.Schema(EVALUATION_SCHEMA))


def _replicates(values: np.ndarray, times: np.ndarray, *, seed: int, bootstrap: int) -> Iterator[np.ndarray]:
    """Means of resamples [rows, rules], a few at a time.

    Problems with equal outcomes are exchangeable, so how often each kind is drawn is one multinomial draw: the same
    distribution as drawing every problem, without a number for every problem.
    """
    rng = hashed_rng("rerank", seed)
    total = int(times.sum())
    step = max(1, _CELLS // len(times))
    for start in range(0, bootstrap, step):
        draws = rng.multinomial(total, times / total, size=min(step, bootstrap - start))
        yield draws @ values / total


def print_rejections(console: Console, rejections: Iterable[Rejection], *, total: int, file: str) -> None:
    """Show the first rejected rows, one line each."""
    for rejection, _ in zip(rejections, range(_SHOWN_REJECTIONS), strict=False):
        console.print(rejection.line(file), markup=False, highlight=False, soft_wrap=True)
    if total > _SHOWN_REJECTIONS:
        console.print(f"… and {total - _SHOWN_REJECTIONS:,} more", highlight=False)


def print_stop_tokens(console: Console, tokens: Iterable[str], *, solutions: int, file: str) -> None:
    """Say once that texts of stop tokens were taken off the ends of solutions, and which."""
    if solutions:
        shown = ", ".join(sorted(tokens))
        line = f"{file}: the text of stop tokens ({shown}) was taken off the end of {solutions:,} solutions"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_reading(console: Console, counts: Counts, settings: RankSettings) -> None:
    """Say what was left out or added before anything is scored."""
    lines = []
    if counts.left_out:
        rows = "row" if counts.left_out == 1 else "rows"
        lines.append(f"{counts.left_out:,} {rows} left out by --where {settings.where}")
    if counts.joined:
        lines.append(
            f"steps of {counts.joined:,} {'solution' if counts.joined == 1 else 'solutions'} end in no white space: "
            "a line break was put between them"
        )
    if counts.labelled is not None:
        named = settings.columns.solutions
        lines.append(
            f"row {counts.labelled} has as many labels as {named} has items: if these are the steps of one solution, "
            f"as in TRL's stepwise rows, name them with --columns.steps {named}"
        )
    for line in lines:
        console.print(f"rerank: {line}", markup=False, highlight=False, soft_wrap=True)


def print_choice(console: Console, *, rule: str, ties: int, problems: int) -> None:
    """Say which rule chose, and how often only the file's order decided for it."""
    tied = f"; in {ties:,} of {problems:,} problems answers tied and the file's order decided" if ties else ""
    console.print(f"chosen by {rule_label(rule)}{tied}", markup=False, highlight=False, soft_wrap=True)


def print_table(console: Console, frame: pl.DataFrame) -> None:
    """Show accuracies, if there are any."""
    if frame.height:
        console.print(results_table(frame, title="accuracy by rule, 95 % intervals over problems"))


def write_rejected(path: Path, rejections: Iterable[Rejection]) -> None:
    """Write one JSON object per rejection: row, id, solution, reason."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for rejection in rejections:
            file.write(dump_line(rejection.as_dict()))


def write_report(path: Path, report: dict[str, Any], frame: pl.DataFrame) -> None:
    """Write the report, accuracies included."""
    data = {**report, "accuracies": frame.to_dicts()}
    atomic_write_bytes(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def beside(output: Path, ending: str) -> Path:
    """The file of this ending beside the output."""
    return output.with_name(output.name + ending)


def print_paths(console: Console, paths: Sequence[tuple[str, Path]]) -> None:
    """Show what was written, one path a line, never wrapped."""
    for what, path in paths:
        console.print(f"{what + ':':<13} {path}", markup=False, highlight=False, soft_wrap=True)
