"""Figures of distributions: reliability of scores, entropies with the threshold, labels of nodes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.ticker import PercentFormatter

from eduprm.bench.metrics import reliability
from eduprm.report.figures.style import GREY, SERIES, check_frame, new_axes, save_png


def reliability_diagram(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    path: str | Path,
    *,
    title: str = "Reliability of the scores",
) -> Path:
    """Draw the share of right rows against the mean score per bin; the area of a point grows with its rows.

    Args:
        scores: numbers in [0, 1] [rows].
        labels: truth values [rows].
        path: PNG file, written atomically.
        title: over the figure.

    Raises:
        ValueError: no rows, or scores outside [0, 1].

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     reliability_diagram([0.2, 0.8], [False, True], Path(folder) / "r.png").name
        'r.png'
    """
    bins = reliability(scores, labels)
    check_frame(bins, [])
    figure, axes = new_axes(width_in=4.8, height_in=4.6)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    axes.annotate("calibrated", xy=(0.97, 0.99), color=GREY, fontsize=9, ha="right", va="bottom")
    rows = bins["rows"].to_numpy()
    colour = SERIES[0][0]
    axes.plot(bins["score"], bins["right"], color=colour, linewidth=1.5)
    axes.scatter(bins["score"], bins["right"], s=15 + 150 * rows / rows.max(), color=colour, zorder=3)
    for score, right, count in bins.select("score", "right", "rows").rows():
        above = right >= score  # away from the diagonal
        axes.annotate(
            f"{count:,}",
            xy=(score, right),
            xytext=(0, 11 if above else -11),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
            color=GREY,
        )
    axes.set(
        xlim=(-0.03, 1.03), ylim=(-0.08, 1.08), xlabel="mean score of the bin", ylabel="share that is right"
    )
    axes.annotate(
        "small numbers: rows in the bin",
        xy=(0.97, 0.02),
        xycoords="axes fraction",
        color=GREY,
        fontsize=8,
        ha="right",
    )
    axes.set_title(title, loc="left")
    return save_png(figure, path)


def entropy_distribution(
    entropies_nats: npt.ArrayLike,
    path: str | Path,
    *,
    threshold_nats: float,
    title: str = "Entropy of the generated tokens",
) -> Path:
    """Draw a histogram of token entropies (log counts) and mark the threshold and the share above it.

    Args:
        entropies_nats: entropies of all tokens, any shape.
        path: PNG file, written atomically.
        threshold_nats: where anchors begin.
        title: over the figure.

    Raises:
        ValueError: no entropies.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     entropy_distribution([0.1, 0.2, 2.0], Path(folder) / "e.png", threshold_nats=0.5).name
        'e.png'
    """
    values = np.asarray(entropies_nats, dtype=np.float64).ravel()
    if not values.size:
        raise ValueError("entropy_distribution needs at least one entropy, got none")
    figure, axes = new_axes()
    top = max(float(values.max()), threshold_nats) * 1.02 + 1e-9
    axes.hist(
        values, bins=np.linspace(0, top, 61).tolist(), color="#8fa9c4", edgecolor="white", linewidth=0.4
    )
    axes.set_yscale("log")
    axes.axvline(threshold_nats, color=SERIES[1][0], linewidth=1.6)
    share = float((values > threshold_nats).mean())
    left = threshold_nats > 0.6 * top
    axes.annotate(
        f"threshold {threshold_nats:g} nats: {share:.1%} of {values.size:,} tokens lie above",
        xy=(threshold_nats, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if left else 6, -4),
        textcoords="offset points",
        ha="right" if left else "left",
        va="top",
        color=SERIES[1][0],
        fontsize=9,
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 3)
    axes.set(xlabel="entropy (nats)", ylabel="tokens (log scale)")
    axes.set_title(title, loc="left")
    return save_png(figure, path)


def label_distribution(
    labels: Mapping[str, npt.ArrayLike], path: str | Path, *, title: str = "Labels of the nodes"
) -> Path:
    """Draw shares of labels: exactly 0, ten bins between, exactly 1; one group of bars per name.

    Args:
        labels: numbers in [0, 1] by name, e.g. {"uniform": ..., "probability": ...}.
        path: PNG file, written atomically.
        title: over the figure.

    Raises:
        ValueError: no labels under a name, or a label outside [0, 1].

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     label_distribution({"uniform": [0.0, 0.5, 1.0]}, Path(folder) / "l.png").name
        'l.png'
    """
    figure, axes = new_axes(width_in=7.2)
    width = 0.8 / max(1, len(labels))
    for position, (name, values) in enumerate(labels.items()):
        shares = _label_shares(values, name)
        colour, _ = SERIES[position % len(SERIES)]
        at = np.arange(len(shares)) + (position - (len(labels) - 1) / 2) * width
        # The second group is hatched too: in a grey print the two colours are close.
        axes.bar(at, shares, width, label=_hard_soft(name, shares), color=colour, alpha=0.85)
        if position % 2:
            axes.bar(at, shares, width, color="none", edgecolor="white", hatch="///", linewidth=0)
    ticks = ["0", *(f"to .{k}" for k in range(1, 10)), "below 1", "1"]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.set(xlabel="label (0 and 1 exactly, bins between)", ylabel="share of nodes")
    axes.set_title(title, loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper center")
    return save_png(figure, path)


def _label_shares(values: npt.ArrayLike, name: str) -> np.ndarray:
    """Shares [12]: exactly 0, ten bins of the open interval, exactly 1."""
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"labels {name!r} must be numbers in [0, 1], at least one")
    bins = np.where(array == 0, 0, np.where(array == 1, 11, np.clip(np.ceil(array * 10), 1, 10))).astype(int)
    return np.bincount(bins, minlength=12) / array.size


def _hard_soft(name: str, shares: np.ndarray) -> str:
    hard = float(shares[0] + shares[-1])
    return f"{name}: {hard:.0%} hard, {1 - hard:.0%} soft"
