"""The language model's own probability of each node: exp of the least, mean or sum of its tokens' log-probs.

A model that was trained to prefer at the forks of trees (`eduprm.prm.losses.fork`) is a PRM by itself: a path is as
good as the least probable of its tokens. Log-probs are at temperature 1 over the whole vocabulary, so that any server
that returns the log-probs of its input gives the same scores.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eduprm.prm.config import Scoring
from eduprm.prm.folding import SOLUTION_OF_FOLD, fold_logprobs
from eduprm.prm.losses._contract import Batch
from eduprm.prm.losses.language_model import token_logprobs
from eduprm.prm.model import language_model_output, packed_hidden

__all__ = ["Scorer", "wanted_logprobs"]


class Scorer:
    """Scores by `Scoring.fold`.

    Raises:
        ValueError: a prompt without tokens: the first token of a solution would have no probability.
    """

    needs: ClassVar[Literal["head", "language_model"]] = "language_model"

    def __init__(self, settings: Scoring) -> None:
        self._fold = settings.fold
        self.solution = SOLUTION_OF_FOLD[settings.fold]

    def values(self, model: torch.nn.Module, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        """Return log p of each wanted token after its path, nats."""
        return wanted_logprobs(model, batch, wanted)

    def fold(self, values: np.ndarray, nodes: np.ndarray, *, parents: np.ndarray) -> np.ndarray:
        """Return the folded probability per node."""
        return fold_logprobs(values, nodes, count=len(parents), fold=self._fold)


def wanted_logprobs(model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
    """Return log p of each wanted token (bool [B, L]) after its path, nats, float64 [M].

    Raises:
        ValueError: a prompt without tokens.
    """
    rows, columns = wanted.nonzero(as_tuple=True)
    before = batch["parents"][rows, columns]
    if bool((before < 0).any()):
        raise ValueError("expected a prompt before every solution, got one without tokens")
    places = packed_hidden(model, batch)[rows, before]
    output = language_model_output(model)
    return token_logprobs(places, output, batch["input_ids"][rows, columns]).double()
