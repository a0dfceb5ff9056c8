"""What all figures share: axes without clutter, colours that survive a grey print, files with equal bytes.

Drawn without pyplot or any display; the same data gives the same bytes (no date, no version inside).
"""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eduprm.core.files import atomic_write_bytes

# Dark to light, so that a grey print keeps them apart; blue and orange also differ for colour-blind readers.
SERIES = (("#0b3c6f", "o"), ("#d4691e", "s"), ("#2f6f4f", "^"), ("#8a5a9e", "D"), ("#9a8200", "v"))
GREY = "#5a5a5a"
_DPI = 160


def new_axes(*, width_in: float = 6.4, height_in: float = 4.2) -> tuple[Figure, Axes]:
    """A figure with one pair of axes: two spines, faint horizontal lines."""
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11}):
        figure = Figure(figsize=(width_in, height_in), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write the figure atomically; the PNG holds no metadata that changes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write_bytes(Path(path), buffer.getvalue())
    return Path(path)


def check_frame(frame: pl.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a frame without rows or without one of the columns, with ValueError."""
    if lacking := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"figure: column {lacking[0]!r} is missing")
    if not frame.height:
        raise ValueError("figure: nothing to draw, the frame has no rows")
