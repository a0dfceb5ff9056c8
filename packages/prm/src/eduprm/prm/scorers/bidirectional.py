"""What BiRM's two heads say of a step together: the outcome head there, and the process head along the path to it.

score = (outcome + beta * mean of process over the steps up to this one) / (1 + beta), within [0, 1]; beta 1, of the
.5 to 2 that BiRM's code tries. The score of the last step is the solution's.

Source: BiRM (arXiv 2503.04618). Division by 1 + beta and the bounds, for scores in [0, 1], are our reading; steps are
the nodes on the path.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eduprm.prm.losses._contract import Batch
from eduprm.prm.losses.bidirectional import LABELS
from eduprm.prm.model import packed_logits
from eduprm.prm.scorers.head import last_values

__all__ = ["Scorer"]

BETA = 1.0


class Scorer:
    """Scores of a head with the outputs outcome and process."""

    needs: ClassVar[Literal["head", "language_model"]] = "head"
    labels: ClassVar[tuple[str, ...]] = LABELS
    solution: Literal["last"] = "last"

    def __init__(self, settings: Any = None) -> None:
        pass

    def values(self, model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        """Return outcome and process at each wanted token, float64 [M, 2]."""
        return packed_logits(model, batch)[wanted].double()

    def fold(self, values: np.ndarray, nodes: np.ndarray, *, parents: np.ndarray) -> np.ndarray:
        """Return the joint score of each node, from the last token of each on its path."""
        outcome, process = last_values(values, nodes, count=len(parents)).T
        sums, steps = process.copy(), np.ones(len(parents))
        for node, parent in enumerate(
            parents.tolist()
        ):  # preorder: a parent's sum is whole before its child's
            if parent >= 0:
                sums[node] += sums[parent]
                steps[node] += steps[parent]
        return np.clip((outcome + BETA * sums / steps) / (1 + BETA), 0, 1)
