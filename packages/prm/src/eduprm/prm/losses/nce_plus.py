"""A head that scores every value in [0, 1] of a step, trained to tell the step's own value from noise around it.

f(v), piecewise linear through the head's outputs at `KNOTS` even knots, is the log-density of the step's value up to a
constant. With y the label, y_0 = y + nu and M draws y_1..y_M of a noise q around y, the loss of a step is
-ln softmax(f(y_m) - ln q(y_m)) at m = 0. Minimising it fits exp(f) to the labels' distribution, so a step whose twins
end half right and half wrong may have two peaks, where a cross-entropy has one number.

Source: noise contrastive estimation as in "How to train your energy-based model for regression" (arXiv 2005.01698) and
its code: q a mixture of normals of standard deviations .1 and .8; nu of the same mixture scaled by .025; the density of
y_0 is that of the unscaled mixture. Noise cut off at 0 and 1 and renormalised, the knots, and 128 draws a step are our
reading. The draws follow from the micro-batch's contents alone: any number of processes, and a training that was
resumed, draw the same.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch

from eduprm.prm.losses._contract import Batch

__all__ = ["LABELS", "Loss", "interpolated"]

KNOTS = 11
LABELS = tuple(f"value {knot / (KNOTS - 1):g}" for knot in range(KNOTS))
SPREADS, SCALE, DRAWS = (0.1, 0.8), 0.025, 128


class Loss:
    """Weighted by the labels' weights; computed in float32.

    Examples:
        >>> batch = {"input_ids": torch.tensor([[5, 6]]), "node_rows": torch.tensor([0]),
        ...     "node_columns": torch.tensor([1]), "node_targets": torch.tensor([0.3]), "node_weights": torch.ones(1)}
        >>> bool(Loss().total(torch.zeros(1, 2, 4), torch.nn.Linear(4, KNOTS), batch) > 0)
        True
    """

    needs: ClassVar[Literal["head", "language_model"]] = "head"
    labels: ClassVar[tuple[str, ...]] = LABELS

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the labels' weights."""
        return batch["node_weights"].sum()

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over the labelled nodes."""
        labelled = batch["node_weights"] > 0
        places = hidden[batch["node_rows"][labelled], batch["node_columns"][labelled]]
        values, log_noise = drawn(batch["node_targets"][labelled], seed=_seed(batch))
        scores = interpolated(output(places).float(), values)
        return (batch["node_weights"][labelled] * contrast(scores, log_noise)).sum()


def contrast(scores: torch.Tensor, log_noise: torch.Tensor) -> torch.Tensor:
    """Return -ln softmax(scores - log_noise) at the first of M + 1 values, [N]; both [N, M + 1].

    Examples:
        >>> contrast(torch.zeros(1, 2), torch.tensor([[0.0, math.log(3.0)]])).exp().item()  # 1 against 1/3
        1.333...
    """
    odds = scores - log_noise
    return odds.logsumexp(-1) - odds[:, 0]


def interpolated(knots: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the piecewise linear functions through `knots` [N, KNOTS] at `values` [N, M] in [0, 1], [N, M].

    Examples:
        >>> interpolated(torch.arange(11.0)[None], torch.tensor([[0.25, 1.0]])).tolist()
        [[2.5, 10.0]]
    """
    place = (values * (KNOTS - 1)).clamp(0, KNOTS - 1)
    lower = place.floor().clamp(max=KNOTS - 2)
    left, right = knots.gather(1, lower.long()), knots.gather(1, lower.long() + 1)
    return left + (place - lower) * (right - left)


def drawn(targets: torch.Tensor, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return y_0..y_M and ln q of each, float32 [N, DRAWS + 1], of N labels in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    centres = targets.detach().cpu().double()[:, None]
    spreads = torch.tensor(SPREADS, dtype=torch.float64)
    own = _truncated(centres, SCALE * spreads, 1, generator)
    values = torch.cat([own, _truncated(centres, spreads, DRAWS, generator)], dim=1)
    log_noise = _log_density(values, centres, spreads)
    return values.float().to(targets.device), log_noise.float().to(targets.device)


def _truncated(
    centres: torch.Tensor, spreads: torch.Tensor, count: int, generator: torch.Generator
) -> torch.Tensor:
    """Draw from the even mixture of normals around `centres` [N, 1], each cut off at 0 and 1; float64 [N, count]."""
    shape = len(centres), count
    spread = spreads[torch.randint(len(spreads), shape, generator=generator)]
    lowest, highest = (torch.special.ndtr((end - centres) / spread) for end in (0.0, 1.0))
    level = lowest + (highest - lowest) * torch.rand(shape, generator=generator, dtype=torch.float64)
    return (centres + spread * torch.special.ndtri(level)).clamp(0, 1)


def _log_density(values: torch.Tensor, centres: torch.Tensor, spreads: torch.Tensor) -> torch.Tensor:
    """ln of that mixture's density, float64 [N, M]."""
    parts = []
    for spread in spreads.tolist():
        inside = torch.special.ndtr((1 - centres) / spread) - torch.special.ndtr(-centres / spread)
        normal = -((values - centres) ** 2) / (2 * spread**2) - math.log(spread * math.sqrt(2 * math.pi))
        parts.append(normal - inside.log())
    return torch.stack(parts).logsumexp(0) - math.log(len(parts))


def _seed(batch: Batch) -> int:
    ids = batch["input_ids"].long().flatten()
    return int((ids * torch.arange(1, len(ids) + 1, device=ids.device)).sum()) % 2**31
