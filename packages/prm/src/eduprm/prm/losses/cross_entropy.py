"""Cross-entropy of a head against [1 - v, v] at the last token of every labelled step (EDU-PRM, arXiv 2503.22233)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.nn import functional

from eduprm.prm.losses._contract import Batch

__all__ = ["Loss"]


class Loss:
    """Weighted by the labels' weights; computed in float32.

    Examples:
        >>> batch = {"node_rows": torch.tensor([0]), "node_columns": torch.tensor([1]),
        ...     "node_targets": torch.tensor([0.3]), "node_weights": torch.tensor([2.0])}
        >>> round(Loss().total(torch.zeros(1, 2, 4), torch.nn.Linear(4, 2, bias=False), batch).item(), 4)
        1.3863
    """

    needs: ClassVar[Literal["head", "language_model"]] = "head"

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the labels' weights."""
        return batch["node_weights"].sum()

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over the labelled nodes."""
        # All nodes, those without a label weigh nothing: to choose some by a mask would wait for the GPU.
        places = hidden[batch["node_rows"], batch["node_columns"]]
        log_probs = functional.log_softmax(output(places).float(), dim=-1)
        value, weight = batch["node_targets"], batch["node_weights"]
        return -(weight * ((1 - value) * log_probs[:, 0] + value * log_probs[:, 1])).sum()
