"""A calibration as text: what the threshold does, and the distribution it was read from.

For `Calibration.report`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eduprm.entropy.calibrate import Calibration


def render(calibration: Calibration, *, width: int) -> str:
    """Return the report; `width` is the longest bar in characters."""
    return "\n\n".join(
        [
            _summary(calibration),
            _sweep(calibration),
            _quantiles(calibration),
            _histogram(calibration, width=width),
        ]
    )


def _summary(found: Calibration) -> str:
    counts = sorted(found.anchors_per_solution)
    middle, high = counts[len(counts) // 2], counts[min(len(counts) - 1, len(counts) * 9 // 10)]
    return "\n".join(
        [
            f"threshold {found.threshold_nats:.4f} nats: {found.achieved_anchors:.2f} anchors per solution "
            f"(wanted {found.wanted_anchors:.2f})",
            f"{found.num_solutions} solutions, {found.num_positions} positions, {found.num_eligible} may be anchors",
            f"anchors of a solution: median {middle}, 90 % have at most {high}, highest {counts[-1]}; "
            f"{found.num_without_anchor} solutions have none",
        ]
    )


def _sweep(found: Calibration) -> str:
    rows = [f"  {threshold:6.2f}  {anchors:10.3f}" for threshold, anchors in found.sweep]
    return "\n".join(["threshold  anchors per solution", *rows])


def _quantiles(found: Calibration) -> str:
    rows = [f"  {100 * share:5.1f} %  {value:8.4f}" for share, value in found.quantiles]
    return "\n".join(["share of positions at or below  nats", *rows])


def _histogram(found: Calibration, *, width: int) -> str:
    tallest = max(*found.bin_counts, 1)
    lines = ["nats           positions (> where anchors begin)"]
    edges = found.bin_edges_nats
    for low, high, count in zip(edges[:-1], edges[1:], found.bin_counts, strict=True):
        mark = ">" if low <= found.threshold_nats < high else " "
        # At least one stroke for a bin that is not empty: the few high entropies are what matters here.
        bar = "#" * max(round(width * count / tallest), int(count > 0))
        lines.append(f"{mark} {low:5.2f}-{high:5.2f} {count:9d} {bar}".rstrip())
    return "\n".join(lines)
