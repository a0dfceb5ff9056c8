"""Accuracy against tokens decoded as a PNG, for pages that are no HTML: a line per method and rule, named at its end.

Legible in grey: series differ by marker and line style as well as by colour. Drawn without pyplot or any display; the
same data gives the same bytes (no date, no version inside).
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from eduprm.core.files import atomic_write_bytes
from eduprm.rank.names import rule_label

__all__ = ["SERIES", "accuracy_against_tokens"]

# Dark to light, so that a grey print keeps them apart; blue and orange also differ for colour-blind readers.
SERIES = (("#0b3c6f", "o"), ("#d4691e", "s"), ("#2f6f4f", "^"), ("#8a5a9e", "D"), ("#9a8200", "v"))
_DPI = 160
# About what a figure of 7.2 x 4.2 inches leaves to its axes, and a letter of 9 points; for placing names only.
_AXES_HEIGHT_POINTS = 240.0
_AXES_WIDTH_POINTS = 390.0
_CHAR_WIDTH_POINTS = 5.4


def accuracy_against_tokens(
    curves: pl.DataFrame,
    path: str | Path,
    *,
    title: str = "Accuracy against tokens decoded",
    names: Mapping[tuple[str, str], str] | None = None,
) -> Path:
    """Draw one line per method and rule over mean decoded tokens per problem, its name beside its end.

    The 95 % interval stands at a line's end alone: bands or whiskers of all points over each other cannot be read.

    Args:
        curves: columns method, rule, n, decoded (mean tokens per problem), accuracy, ci_low, ci_high. Rows of
            one (method, rule) form a line; the rule "oracle" is dashed. One row alone is a point.
        path: PNG file, written atomically.
        title: over the figure.
        names: of (method, rule), in place of "method, rule".

    Returns:
        The path.

    Raises:
        ValueError: no rows, or a column is missing.

    Examples:
        >>> import tempfile
        >>> rows = [("EDU", "prm_min", 1, 20.0, 0.3, 0.2, 0.4), ("EDU", "prm_min", 8, 80.0, 0.5, 0.4, 0.6)]
        >>> columns = ["method", "rule", "n", "decoded", "accuracy", "ci_low", "ci_high"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frame = pl.DataFrame(rows, schema=columns, orient="row")
        ...     accuracy_against_tokens(frame, Path(folder) / "curve.png").stat().st_size > 1000
        True
    """
    _check_frame(curves, ["method", "rule", "n", "decoded", "accuracy", "ci_low", "ci_high"])
    figure, axes = _new_axes(width_in=7.2)
    methods = curves["method"].unique(maintain_order=True).to_list()
    ends: list[tuple[float, float, str, str]] = []
    for (method, rule), line in curves.sort("decoded").group_by(["method", "rule"], maintain_order=True):
        colour, marker = SERIES[methods.index(method) % len(SERIES)]
        oracle = rule == "oracle"
        x, y = line["decoded"].to_numpy(), line["accuracy"].to_numpy()
        low, high = line["ci_low"].to_numpy(), line["ci_high"].to_numpy()
        ends_at = np.stack([y - low, high - y])[:, -1:]
        axes.errorbar(x[-1:], y[-1:], ends_at, color=colour, fmt="none", elinewidth=0.8, capsize=2)
        axes.plot(
            x,
            y,
            color=colour,
            marker=marker,
            markersize=5,
            markerfacecolor="white" if oracle else colour,
            linestyle="--" if oracle else "-",
            linewidth=1.2 if oracle else 2,
        )
        name = (names or {}).get((str(method), str(rule))) or _name(str(method), str(rule))
        ends.append((float(x[-1]), float(y[-1]), name, colour))
    axes.set_xscale("log")
    ticks = sorted({round(t) for t in curves["decoded"].to_list()})
    axes.set_xticks(_spread(ticks), minor=False)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set_xlabel("tokens decoded per problem (mean, log scale)")
    axes.set_ylabel("problems solved")
    axes.set_title(title, loc="left")
    _label_ends(axes, ends)
    return _save_png(figure, path)


def _spread(ticks: Sequence[float]) -> list[float]:
    """Ticks at the data, leaving out those whose numbers would touch on a log axis."""
    kept: list[float] = []
    for tick in ticks:
        if tick > 0 and (not kept or tick / kept[-1] > 1.18):
            kept.append(tick)
    return kept


def _name(method: str, rule: str) -> str:
    short = "any right" if rule == "oracle" else rule_label(rule)
    return method if method == rule else f"{method}, {short}"


def _label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name every line beside its end, on a white halo; names that would overlap are moved apart."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.06
    left, right = (math.log(bound) for bound in axes.get_xlim())
    placed: list[tuple[float, float, float]] = []
    for x, y, name, colour in sorted(ends, key=lambda end: (end[1], end[0])):
        start = (math.log(x) - left) / (right - left) * _AXES_WIDTH_POINTS
        stop = start + len(name) * _CHAR_WIDTH_POINTS
        beside = [level for first, last, level in placed if first < stop and start < last]
        at = max([y, *(level + gap for level in beside if level + gap > y)])
        placed.append((start, stop, at))
        text = axes.annotate(
            name,
            xy=(x, y),
            xytext=(9, (at - y) / (high - low) * _AXES_HEIGHT_POINTS),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    axes.set_ylim(low, max(high, max(at for *_, at in placed) + gap))


def _new_axes(*, width_in: float = 6.4, height_in: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one pair of axes: two spines, faint horizontal lines."""
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11}):
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _save_png(figure: Figure, path: str | Path) -> Path:
    """Write the figure atomically; the PNG holds no metadata that changes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def _check_frame(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame without rows or without one of the columns, with ValueError."""
    if lacking := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"figure: column {lacking[0]!r} is missing")
    if not frame.height:
        raise ValueError("figure: nothing to draw, the frame has no rows")
