"""A classifier's P(right) at the last token of each node: its estimate of the training label."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eduprm.prm.config import Aggregate
from eduprm.prm.losses._contract import Batch
from eduprm.prm.model import packed_logits

__all__ = ["Scorer", "last_values"]


class Scorer:
    """Softmax over the logits wrong and right, in float64."""

    needs: ClassVar[Literal["head", "language_model"]] = "head"
    solution: ClassVar[Aggregate] = "last"

    def __init__(self, settings: Any = None) -> None:
        pass

    def values(self, model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        """Return P(right) at each wanted token."""
        return torch.softmax(packed_logits(model, batch)[wanted].double(), dim=-1)[:, 1]

    def fold(self, values: np.ndarray, nodes: np.ndarray, *, parents: np.ndarray) -> np.ndarray:
        """Return each node's last value."""
        return last_values(values, nodes, count=len(parents))


def last_values(values: np.ndarray, nodes: np.ndarray, *, count: int) -> np.ndarray:
    """Return the values [count, ...] of each node's last token, of `values` [n, ...] of tokens of `nodes` [n]."""
    last = np.zeros(count, dtype=np.int64)
    last[nodes] = np.arange(len(nodes))  # a later token overwrites an earlier one
    return values[last]
