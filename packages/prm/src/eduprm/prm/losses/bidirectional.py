"""Two heads on one state: what a step's beginning is worth looking back, and what it leads to looking ahead.

For a labelled step of value v, (outcome - v)^2 + (process - [v > 0])^2: the outcome head estimates the share of right
answers below, the process head whether the beginning can still be right, Math-Shepherd's hard label. Neither has a
sigmoid. A score joins both (`eduprm.prm.scorers.bidirectional`).

Source: BiRM (arXiv 2503.04618), whose code adds the language model's loss: name `language_model` beside it for that.
Both targets from one tree's values, and two outputs of one linear head as the two heads, are our reading. With hard
labels both targets are the same.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from eduprm.prm.losses._contract import Batch

__all__ = ["LABELS", "Loss"]

LABELS = ("outcome", "process")


class Loss:
    """Weighted by the labels' weights; computed in float32.

    Examples:
        >>> batch = {"node_rows": torch.tensor([0]), "node_columns": torch.tensor([1]),
        ...     "node_targets": torch.tensor([0.5]), "node_weights": torch.tensor([2.0])}
        >>> Loss().total(torch.zeros(1, 2, 4), torch.nn.Linear(4, 2, bias=False), batch).item()  # 2 (.25 + 1)
        2.5
    """

    needs: ClassVar[Literal["head", "language_model"]] = "head"
    labels: ClassVar[tuple[str, ...]] = LABELS

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the labels' weights."""
        return batch["node_weights"].sum()

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the weighted sum of both squared errors over the labelled nodes."""
        labelled = batch["node_weights"] > 0
        places = hidden[batch["node_rows"][labelled], batch["node_columns"][labelled]]
        values = batch["node_targets"][labelled]
        targets = torch.stack([values, (values > 0).to(values.dtype)], dim=-1)
        errors = (output(places).float() - targets).square().sum(-1)
        return (batch["node_weights"][labelled] * errors).sum()
