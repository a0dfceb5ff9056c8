"""A classifier's P(right) at the last token of each node: its estimate of the training label."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from eduprm.prm.losses._contract import Batch
from eduprm.prm.model import packed_logits

__all__ = ["Scorer"]


class Scorer:
    """Softmax over the logits wrong and right, in float64."""

    needs: ClassVar[Literal["head", "language_model"]] = "head"

    def __init__(self, settings: Any = None) -> None:
        pass

    def scores(self, model: Any, batch: Batch, tokens: torch.Tensor) -> torch.Tensor:
        """Return P(right) per node, float64 [N]."""
        logits = packed_logits(model, batch)[batch["node_rows"], batch["node_columns"]]
        return torch.softmax(logits.double(), dim=-1)[:, 1]
