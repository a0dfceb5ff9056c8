"""Charts of a page as SVG: lines over tokens, reliability, histograms, training curves.

Plain numbers in, a `Figure` out. Series differ by marker and dash as well as by colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .svg import Chart, element, log_ticks, nice_ticks, percent, short_count, to_text


class Legend(NamedTuple):
    """A line of the legend: the series' number (its colour) and name; dashed or not."""

    series: int
    name: str
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn chart. `svg` is markup made by this module; the texts are plain."""

    title: str
    svg: str
    note: str = ""
    legend: Sequence[Legend] = ()
    wide: bool = False


class Point(NamedTuple):
    """A point of a line: where, how high, and its interval."""

    x: float
    y: float
    low: float
    high: float
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A named series; `dashed` for bounds rather than methods."""

    name: str
    points: Sequence[Point]
    series: int = 0
    dashed: bool = False


def accuracy_lines(
    lines: Sequence[Line], *, title: str, x_label: str = "tokens decoded per problem (log scale)"
) -> Figure:
    """Accuracy over a logarithmic axis with 95 % whiskers.

    Raises:
        ValueError: no line holds a point.
    """
    points = [point for line in lines for point in line.points if point.x > 0]
    if not points:
        raise ValueError("accuracy_lines needs at least one point, got none")
    low, high = min(p.x for p in points) * 0.9, max(p.x for p in points) * 1.12
    top = min(1.0, max(p.high for p in points) * 1.05 + 0.01)
    bottom = max(0.0, min(p.low for p in points) - 0.05)
    chart = Chart(title=title, x=(low, high), y=(bottom, top), log_x=True)
    chart.axes(
        x_label=x_label,
        y_label="problems solved",
        x_ticks=log_ticks(low, high),
        y_ticks=nice_ticks(bottom, top),
        show_x=short_count,
        show_y=percent,
    )
    for line in lines:
        kept = [point for point in line.points if point.x > 0]
        style = f"line s{line.series}" + (" dashed" if line.dashed else "")
        if len(kept) > 1:
            chart.path([(p.x, p.y) for p in kept], class_=style)
        for point in kept:
            x, y = chart.x(point.x), chart.y(point.y)
            element(
                "line", chart.root, class_=f"whisker s{line.series}",
                x1=x, x2=x, y1=chart.y(point.low), y2=chart.y(point.high),
            )  # fmt: skip
            span = f"[{percent(point.low)}, {percent(point.high)}], {point.x:,.0f} tokens"
            hint = point.hint or f"{line.name}: {percent(point.y)} {span}"
            kind = f"dot s{line.series}" + (" hollow" if line.dashed else "")
            chart.mark("circle", hint, class_=kind, cx=x, cy=y, r=4.0)
    legend = [Legend(line.series, line.name, line.dashed) for line in lines]
    return Figure(title=title, svg=to_text(chart.root), legend=legend)


class Bin(NamedTuple):
    """A bin of scores: mean score, share that is right, rows in it."""

    score: float
    right: float
    rows: int


def reliability(bins: Sequence[Bin], *, title: str, note: str = "") -> Figure:
    """The share of right rows against the mean score of each bin; a point's area grows with its rows.

    Raises:
        ValueError: no bins.
    """
    if not bins:
        raise ValueError("reliability needs at least one bin, got none")
    chart = Chart(title=title, x=(0, 1), y=(0, 1))
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    chart.axes(x_label="mean score of the bin", y_label="share that is right", x_ticks=ticks, y_ticks=ticks)
    chart.path([(0, 0), (1, 1)], class_="ideal")
    chart.path([(bin_.score, bin_.right) for bin_ in bins], class_="line s0 thin")
    most = max(bin_.rows for bin_ in bins)
    for bin_ in bins:
        x, y = chart.x(bin_.score), chart.y(bin_.right)
        element("line", chart.root, class_="gap", x1=x, x2=x, y1=y, y2=chart.y(bin_.score))
        hint = f"{bin_.rows:,} rows, mean score {bin_.score:.2f}, {percent(bin_.right)} right"
        chart.mark("circle", hint, class_="dot s0", cx=x, cy=y, r=3 + 7 * (bin_.rows / most) ** 0.5)
    return Figure(title=title, svg=to_text(chart.root), note=note)


def histogram(
    values: npt.ArrayLike,
    *,
    title: str,
    x_label: str,
    y_label: str,
    threshold: float | None = None,
    bins: int = 48,
    note: str = "",
) -> Figure:
    """Counts on a logarithmic axis; what lies above the threshold has another colour.

    Raises:
        ValueError: no values.
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size:
        raise ValueError("histogram needs at least one value, got none")
    top = max(float(array.max()), threshold or 0.0) * 1.02 + 1e-9
    counts, edges = np.histogram(array, bins=np.linspace(0, top, bins + 1))
    chart = Chart(title=title, x=(0, top), y=(0.7, float(counts.max()) * 1.6), log_y=True)
    chart.axes(
        x_label=x_label,
        y_label=y_label,
        x_ticks=nice_ticks(0, top),
        y_ticks=log_ticks(1, float(counts.max())),
        show_y=short_count,
    )
    floor = chart.y.start
    for count, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if count:
            x, y = chart.x(low), chart.y(count)
            kind = "bar s1" if threshold is not None and low >= threshold else "bar s0"
            chart.mark(
                "rect", f"{low:.2f} to {high:.2f}: {count:,}", class_=kind,
                x=x + 0.5, y=y, width=max(0.6, chart.x(high) - x - 1), height=floor - y,
            )  # fmt: skip
    if threshold is not None:
        at = chart.x(threshold)
        element("line", chart.root, class_="threshold", x1=at, x2=at, y1=chart.y.stop, y2=floor)
        right = threshold > 0.6 * top
        chart.text(
            at - 5 if right else at + 5, chart.y.stop + 9, f"threshold {threshold:g}",
            class_="threshold-label", text_anchor="end" if right else "start",
        )  # fmt: skip
    return Figure(title=title, svg=to_text(chart.root), note=note)


_MEAN_OVER = 9
_MOST_POINTS = 600


def training_loss(losses: Sequence[tuple[int, float]], *, title: str, note: str = "") -> Figure:
    """The loss of each logged step and, where there are enough, its running mean.

    Raises:
        ValueError: no losses.
    """
    if not losses:
        raise ValueError("training_loss needs at least one loss, got none")
    steps, values = np.asarray(losses, dtype=np.float64).T
    top = float(values.max()) * 1.05 or 1.0
    chart = Chart(title=title, x=(float(steps.min()), float(max(steps.max(), steps.min() + 1))), y=(0, top))
    chart.axes(
        x_label="optimiser step",
        y_label="loss (nats per label)",
        x_ticks=nice_ticks(chart.x.low, chart.x.high),
        y_ticks=nice_ticks(0, top),
        show_x=short_count,
    )
    every = max(1, len(values) // _MOST_POINTS)  # more points than pixels say nothing
    raw = list(zip(steps[::every].tolist(), values[::every].tolist(), strict=True))
    long = len(values) >= 2 * _MEAN_OVER
    chart.path(raw, class_="line faint" if long else "line s0")
    if long:
        mean = np.convolve(values, np.ones(_MEAN_OVER) / _MEAN_OVER, mode="valid")
        middle = steps[_MEAN_OVER // 2 : _MEAN_OVER // 2 + len(mean)]
        chart.path(list(zip(middle[::every].tolist(), mean[::every].tolist(), strict=True)), class_="line s0")
        note = note or f"The strong line is the mean over {_MEAN_OVER} records."
    return Figure(title=title, svg=to_text(chart.root), note=note)
