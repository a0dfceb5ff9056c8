"""A threshold that yields a wanted number of anchors per solution, and the distribution it was read from.

For choosing where to fork for a policy other than the paper's. EDU-PRM (arXiv 2503.22233) reports a fixed
threshold of 1.0 and no rule for other models; this rule is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
THRESHOLDS_NATS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
NUM_BINS = 20


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A threshold and the entropies behind it; all entropies in nats, of positions that may be anchors.

    `print(calibration.report())` shows it; `dataclasses.asdict` makes it JSON.
    """

    threshold_nats: float
    wanted_anchors: float  # per solution, as asked
    achieved_anchors: float  # per solution, mean, with entropy > threshold_nats on the data given
    anchors_per_solution: tuple[int, ...]  # one count for each solution, in order
    num_positions: int  # of all solutions
    num_eligible: int  # of them, not skipped
    quantiles: tuple[tuple[float, float], ...]  # (share of positions at or below, entropy)
    sweep: tuple[tuple[float, float], ...]  # (threshold, mean anchors per solution)
    bin_edges_nats: tuple[float, ...]
    bin_counts: tuple[int, ...]

    @property
    def num_solutions(self) -> int:
        """Return how many solutions the threshold was read from."""
        return len(self.anchors_per_solution)

    @property
    def num_without_anchor(self) -> int:
        """Return how many solutions have no anchor at all at this threshold."""
        return sum(count == 0 for count in self.anchors_per_solution)

    def report(self, *, width: int = 40) -> str:
        """Return the distribution and what the threshold does to it, as text for a terminal.

        Args:
            width: characters of the longest bar.

        Examples:
            >>> found = calibrate_threshold([[0.1, 2.0, 0.3], [1.5, 0.2]], anchors_per_solution=1.0)
            >>> print(found.report().splitlines()[0])
            threshold 0.9000 nats: 1.00 anchors per solution (wanted 1.00)
        """
        from eduprm.entropy.report import render

        return render(self, width=width)


def calibrate_threshold(
    entropies: Sequence[npt.ArrayLike],
    *,
    anchors_per_solution: float,
    skip: Sequence[npt.ArrayLike] | None = None,
) -> Calibration:
    """Return the threshold at which solutions have `anchors_per_solution` anchors on average.

    An anchor is a position whose entropy is *greater* than the threshold. The threshold lies half-way between
    the lowest entropy that is an anchor and the highest that is not; where equal entropies stand at that place,
    the nearer of the two reachable counts is taken, the lower one if they are equally near.

    Args:
        entropies: one 1-D array per solution, nats.
        anchors_per_solution: wanted mean, above 0.
        skip: one boolean array per solution, True where a position can be no anchor (a bare symbol, say).

    Returns:
        `Calibration`; `achieved_anchors` is what the threshold gives on these solutions.

    Raises:
        ValueError: no solutions, arrays that are not 1-D, NaN or negative entropies (the solution is named),
            masks of other lengths, or more anchors wanted than there are positions with entropy above 0.

    Examples:
        >>> found = calibrate_threshold([[0.1, 2.0, 0.3], [1.5, 0.2]], anchors_per_solution=1.0)
        >>> found.threshold_nats, found.achieved_anchors
        (0.9, 1.0)
    """
    if not 0 < anchors_per_solution < np.inf:
        raise ValueError(f"expected a finite anchors_per_solution above 0, got {anchors_per_solution}")
    solutions = _checked(entropies)
    eligible = solutions if skip is None else _kept(solutions, skip)
    pooled = np.concatenate(eligible)
    pooled.sort()
    threshold = _threshold(pooled, wanted=anchors_per_solution * len(solutions), num_solutions=len(solutions))
    counts = tuple(int(np.count_nonzero(values > threshold)) for values in eligible)
    bin_counts, edges = np.histogram(pooled, bins=NUM_BINS, range=(0.0, max(float(pooled[-1]), 1e-9)))
    return Calibration(
        threshold_nats=threshold,
        wanted_anchors=float(anchors_per_solution),
        achieved_anchors=sum(counts) / len(solutions),
        anchors_per_solution=counts,
        num_positions=sum(len(values) for values in solutions),
        num_eligible=len(pooled),
        quantiles=tuple(zip(QUANTILES, np.quantile(pooled, QUANTILES).tolist(), strict=True)),
        sweep=tuple((t, _above(pooled, t) / len(solutions)) for t in THRESHOLDS_NATS),
        bin_edges_nats=tuple(float(edge) for edge in edges),
        bin_counts=tuple(int(count) for count in bin_counts),
    )


def _above(pooled: FloatArray, threshold: float) -> int:
    return len(pooled) - int(np.searchsorted(pooled, threshold, side="right"))


def _threshold(pooled: FloatArray, *, wanted: float, num_solutions: int) -> float:
    """Return the threshold for about `wanted` anchors in all; `pooled` is sorted, lowest first."""
    most = _above(pooled, 0.0)
    if len(pooled) == 0 or round(wanted) > most:
        raise ValueError(
            f"expected at most {most / num_solutions:.4g} anchors per solution ({most} positions have entropy "
            f"above 0 in {num_solutions} solutions), got {wanted / num_solutions:.4g}"
        )
    # Reachable counts are those of distinct entropies: `fewer` keeps those above a value, `more` that value too.
    target = min(max(round(wanted), 0), most)
    at = float(pooled[len(pooled) - target]) if target else np.inf
    more = len(pooled) - int(np.searchsorted(pooled, at, side="left"))
    fewer = _above(pooled, at)
    count = more if more - wanted < wanted - fewer else fewer
    above = float(pooled[len(pooled) - count]) if count else None
    below = float(pooled[len(pooled) - count - 1]) if count < len(pooled) else 0.0
    if above is None:
        return below
    middle = (above + below) / 2
    # Anchors are found in float32, where neighbours have nothing between them.
    return middle if np.float32(middle) < np.float32(above) else below


def _checked(entropies: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    solutions = [np.asarray(values, dtype=np.float64) for values in entropies]
    for index, values in enumerate(solutions):
        if values.ndim != 1:
            raise ValueError(f"expected 1-D entropies, got shape {values.shape} in solution {index}")
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            place = int(np.argmax(wrong))
            raise ValueError(
                f"expected finite entropies of at least 0, got {values[place]} at position {place} of solution {index}"
            )
    if not solutions:
        raise ValueError("expected at least one solution, got none")
    return solutions


def _kept(solutions: list[FloatArray], skip: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    masks: list[BoolArray] = [np.asarray(mask, dtype=bool) for mask in skip]
    got = [mask.shape for mask in masks]
    if got != [values.shape for values in solutions]:
        raise ValueError(
            f"expected one mask per solution, of its length {[len(v) for v in solutions][:5]}..., "
            f"got {len(masks)} of shapes {got[:5]}..."
        )
    return [values[~mask] for values, mask in zip(solutions, masks, strict=True)]
