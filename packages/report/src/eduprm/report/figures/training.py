"""The loss of a training run over its optimiser steps."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eduprm.report.figures.style import GREY, SERIES, new_axes, save_png

_MEAN_OVER = 9


def training_curve(
    losses: Sequence[tuple[int, float]], path: str | Path, *, title: str = "Training loss"
) -> Path:
    """Draw the loss of each logged step, and its running mean where there are enough steps.

    Args:
        losses: (optimiser step, mean loss since the last logged one).
        path: PNG file, written atomically.
        title: over the figure.

    Raises:
        ValueError: no losses.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     training_curve([(1, 0.7), (2, 0.6)], Path(folder) / "t.png").name
        't.png'
    """
    if not losses:
        raise ValueError("training_curve needs at least one loss, got none")
    steps, values = np.asarray(losses, dtype=np.float64).T
    figure, axes = new_axes()
    colour = SERIES[0][0]
    long = len(values) >= 2 * _MEAN_OVER
    axes.plot(
        steps,
        values,
        color=GREY if long else colour,
        linewidth=0.8 if long else 1.6,
        marker=None if long else ".",
    )
    if long:
        mean = np.convolve(values, np.ones(_MEAN_OVER) / _MEAN_OVER, mode="valid")
        axes.plot(steps[_MEAN_OVER // 2 : _MEAN_OVER // 2 + len(mean)], mean, color=colour, linewidth=2)
        axes.annotate(
            f"mean over {_MEAN_OVER} records",
            xy=(0.99, 0.97),
            xycoords="axes fraction",
            color=colour,
            ha="right",
            va="top",
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("cross-entropy (nats per label)")
    axes.set_title(title, loc="left")
    return save_png(figure, path)
