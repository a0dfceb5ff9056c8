"""The mean of the values that an energy-based head (`eduprm.prm.losses.nce_plus`) finds probable where a step ends.

exp(f) on a grid of 101 values, divided by its sum, is taken for their distribution. The paper predicts the value of
the highest f (arXiv 2005.01698); the mean, which ranks steps finer and is the estimate of a share of right answers, is
our reading.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eduprm.prm.losses._contract import Batch
from eduprm.prm.losses.nce_plus import LABELS, interpolated
from eduprm.prm.model import packed_logits
from eduprm.prm.scorers.head import last_values

__all__ = ["Scorer"]

GRID = torch.linspace(0, 1, 101, dtype=torch.float64)


class Scorer:
    """Scores of a head with one output per knot of f."""

    needs: ClassVar[Literal["head", "language_model"]] = "head"
    labels: ClassVar[tuple[str, ...]] = LABELS
    solution: Literal["last"] = "last"

    def __init__(self, settings: Any = None) -> None:
        pass

    def values(self, model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        """Return the mean value at each wanted token, float64 [M]."""
        knots = packed_logits(model, batch)[wanted].double()
        grid = GRID.to(knots.device)
        weights = torch.softmax(interpolated(knots, grid.expand(len(knots), -1)), dim=-1)
        return weights @ grid

    def fold(self, values: np.ndarray, nodes: np.ndarray, *, parents: np.ndarray) -> np.ndarray:
        """Return each node's last value."""
        return last_values(values, nodes, count=len(parents))
