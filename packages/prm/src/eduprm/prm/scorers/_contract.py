"""What a scorer is."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch

from eduprm.prm.config import Aggregate
from eduprm.prm.losses._contract import Batch

__all__ = ["StepScoring"]


class StepScoring(Protocol):
    """Made from `Scoring`.

    Attributes: `needs`, which output of the model it reads, and so which kind of model is saved; `solution`, how step
    scores become the one score of a solution: by the last where it has read all the others, else by an aggregate.
    """

    needs: ClassVar[Literal["head", "language_model"]]
    solution: Aggregate

    def __init__(self, settings: Any) -> None:
        """Take the settings (`eduprm.prm.config.Scoring`)."""
        ...

    def values(self, model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        """Return a number for each wanted token, float64 [M], or k of them [M, k], in the order of `wanted.nonzero()`.

        A token's numbers follow from the tokens on its path alone: solutions that begin alike are computed once.

        Args:
            model: the classifier or the language model.
            batch: packed rows, `eduprm.prm.losses._contract.Batch`.
            wanted: bool [B, L]; prompts and padding are never wanted.
        """
        ...

    def fold(self, values: np.ndarray, nodes: np.ndarray, *, parents: np.ndarray) -> np.ndarray:
        """Return a score in [0, 1] per node from the numbers of its tokens, float64 [N].

        Args:
            values: [n] or [n, k], node by node, each node's in their order.
            nodes: int64 [n], ascending; each of the N nodes has a token at least.
            parents: int64 [N], the node above each, -1 for none; preorder.
        """
        ...
