"""Siblings ranked by their values: of two steps behind the same prefix, the head is to score the better one higher.

For siblings a, b with targets t_a > t_b and z the difference of the head's two logits (right minus wrong),
(t_a - t_b) * -ln sigmoid(z_a - z_b): Bradley-Terry with the gap of the values as the pair's weight, divided by the sum
of these gaps. Siblings are steps with the same parent step in one tree; equal values prefer nothing. A pair counts by
the lesser scale of the two (a question's weight, the part of a step's solutions that a filter keeps).

Source: pairwise ranking of steps as in Q-RM (arXiv 2505.23363), which compares mean token logits of chosen and rejected
answers; that the pairs are a tree's siblings and are weighted by their gap is our reading.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.nn import functional

from eduprm.prm.losses._contract import Batch

__all__ = ["Loss"]


class Loss:
    """Computed in float32.

    Examples:
        >>> batch = {"node_rows": torch.tensor([0, 0]), "node_columns": torch.tensor([0, 1]),
        ...     "node_targets": torch.tensor([1.0, 0.5]), "node_weights": torch.ones(2), "node_scales": torch.ones(2),
        ...     "node_parents": torch.tensor([-1, -1]), "node_trees": torch.tensor([0, 0])}
        >>> round(Loss().total(torch.zeros(1, 2, 4), torch.nn.Linear(4, 2), batch).item(), 4)  # half of ln 2
        0.3466
    """

    needs: ClassVar[Literal["head", "language_model"]] = "head"
    ignores: ClassVar[tuple[str, ...]] = ("weights",)
    pairs: ClassVar[bool] = True

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the gaps of all pairs of siblings."""
        return _pairs(batch)[2].sum()

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum over pairs of gap * -ln sigmoid(z_better - z_worse)."""
        better, worse, gaps = _pairs(batch)
        logits = output(hidden[batch["node_rows"], batch["node_columns"]]).float()
        margin = logits[:, 1] - logits[:, 0]
        return (gaps * functional.softplus(margin[worse] - margin[better])).sum()


def _pairs(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which nodes are better and which worse siblings, int64 [P] each, and their scaled gaps, float32 [P]."""
    parents, trees, targets = batch["node_parents"], batch["node_trees"], batch["node_targets"]
    scales = batch["node_scales"]
    siblings = (parents[:, None] == parents) & (trees[:, None] == trees)
    counted = batch["node_weights"] > 0
    better, worse = (siblings & counted[:, None] & counted & (targets[:, None] > targets)).nonzero(
        as_tuple=True
    )
    return better, worse, (targets[better] - targets[worse]) * torch.minimum(scales[better], scales[worse])
