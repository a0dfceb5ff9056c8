"""What a scorer is."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

import torch

from eduprm.prm.losses._contract import Batch

__all__ = ["StepScoring"]


class StepScoring(Protocol):
    """Made from `Scoring`; `needs` says which output of the model it reads, and which kind of model is saved."""

    needs: ClassVar[Literal["head", "language_model"]]

    def __init__(self, settings: Any) -> None:
        """Take the settings (`eduprm.prm.config.Scoring`)."""
        ...

    def scores(self, model: Any, batch: Batch, tokens: torch.Tensor) -> torch.Tensor:
        """Return a score in [0, 1] per node, float64 [N].

        Args:
            model: the classifier or the language model.
            batch: packed rows with the node table of `eduprm.prm.losses._contract.Batch`.
            tokens: int64 [B, L], the node (its place in the table) that holds each token, -1 for prompts and padding.
        """
        ...
