"""Charts of shares and of named values: bars side by side, dots with intervals, the bins of labels.

Plain numbers in, a `Figure` out, as in `charts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .charts import Figure, Legend
from .svg import Chart, element, nice_ticks, percent, to_text


def bars(
    groups: Mapping[str, Sequence[float]], *, names: Sequence[str], title: str, x_label: str, note: str = ""
) -> Figure:
    """Shares side by side, one colour a group.

    Args:
        groups: shares by the group's name, one for each of `names`.
        names: under the bars.
    """
    top = max((max(values) for values in groups.values()), default=0.0) * 1.08 or 1.0
    chart = Chart(title=title, x=(-0.5, len(names) - 0.5), y=(0, top))
    chart.axes(
        x_label=x_label, y_label="share", x_ticks=[], y_ticks=nice_ticks(0, top, count=4), show_y=percent
    )
    floor, width = chart.y.start, 0.84 / max(1, len(groups))
    for index, name in enumerate(names):
        chart.text(chart.x(index), floor + 17, name, class_="tick", text_anchor="middle")
        for number, (group, values) in enumerate(groups.items()):
            x, y = chart.x(index - 0.42 + number * width), chart.y(values[index])
            chart.mark(
                "rect", f"{group}, {name}: {100 * values[index]:.1f} %", class_=f"bar s{number}",
                x=x + 0.5, y=y, width=chart.x(width) - chart.x(0) - 1, height=floor - y,
            )  # fmt: skip
    legend = [Legend(number, name) for number, name in enumerate(groups)] if len(groups) > 1 else []
    return Figure(title=title, svg=to_text(chart.root), note=note, legend=legend)


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A named value in [0, 1] with its interval; `strong` for the one to look at."""

    name: str
    value: float
    low: float
    high: float
    series: int = field(default=0)


def dots(rows: Sequence[Dot], *, title: str, x_label: str, note: str = "") -> Figure:
    """One row a name, from top to bottom: the value as a dot, the 95 % interval as a line."""
    height = 56.0 + 22 * len(rows)
    top = min(1.0, max((row.high for row in rows), default=1.0) * 1.06 + 0.02)
    chart = Chart(title=title, x=(0, top), y=(len(rows) - 0.5, -0.5), height=height, left=176)
    chart.axes(x_label=x_label, y_label="", x_ticks=nice_ticks(0, top, count=4), y_ticks=[], show_x=percent)
    for index, row in enumerate(rows):
        y = chart.y(index)
        element("line", chart.root, class_="grid", x1=chart.left, x2=chart.x.stop, y1=y, y2=y)
        name = row.name if len(row.name) <= 29 else row.name[:28] + "…"
        chart.text(chart.left - 8, y + 4, name, class_="name", text_anchor="end")
        element(
            "line", chart.root, class_=f"whisker s{row.series}", x1=chart.x(row.low), x2=chart.x(row.high), y1=y, y2=y
        )  # fmt: skip
        hint = f"{row.name}: {100 * row.value:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        chart.mark("circle", hint, class_=f"dot s{row.series}", cx=chart.x(row.value), cy=y, r=4.5)
    return Figure(title=title, svg=to_text(chart.root), note=note)


LABEL_NAMES = ("0", *(f".{k}" for k in range(1, 10)), "<1", "1")
"""Names of the bins of `label_shares`."""


def label_shares(labels: npt.ArrayLike) -> list[float]:
    """Shares of labels [12]: exactly 0, ten bins of the open interval, exactly 1.

    Examples:
        >>> label_shares([0.0, 1.0, 1.0, 0.45])[0], label_shares([0.0, 1.0, 1.0, 0.45])[5]
        (0.25, 0.25)
    """
    array = np.asarray(labels, dtype=np.float64).ravel()
    inner = np.clip(np.ceil(array * 10), 1, 10).astype(int)
    bins = np.where(array == 0, 0, np.where(array == 1, 11, inner))
    shares = np.bincount(bins, minlength=12) / max(1, array.size)
    return [float(share) for share in shares]
