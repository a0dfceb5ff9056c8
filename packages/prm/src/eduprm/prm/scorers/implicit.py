"""The reward that an implicit PRM gives each step: sigmoid of beta times the sum of its tokens' ln pi / pi_ref.

1/2 is neutral: the model finds the step as probable as before training. A solution's reward, which training fits to its
outcome (`eduprm.prm.losses.implicit`), is the sum of its steps' log-odds.

Source: implicit PRM (arXiv 2412.01981), PRIME (arXiv 2502.01456). The sigmoid, for scores in [0, 1], and the mean over
steps as a solution's score, which does not prefer short ones, are our reading.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch

from eduprm.prm.losses._contract import Batch
from eduprm.prm.losses.implicit import BETA
from eduprm.prm.reference import reference_logprobs
from eduprm.prm.scorers.likelihood import wanted_logprobs

__all__ = ["Scorer"]


class Scorer:
    """Scores by a model with adapters: on, it is the PRM; off, its reference.

    Raises:
        ValueError: a prompt without tokens.
    """

    needs: ClassVar[Literal["head", "language_model"]] = "language_model"
    reference: ClassVar[bool] = True
    solution: Literal["mean"] = "mean"

    def __init__(self, settings: Any = None) -> None:
        pass

    def values(self, model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
        """Return ln pi / pi_ref of each wanted token after its path, nats."""
        own = wanted_logprobs(model, batch, wanted)
        return own - reference_logprobs(model, batch)[wanted].double()

    def fold(self, values: np.ndarray, nodes: np.ndarray, *, parents: np.ndarray) -> np.ndarray:
        """Return sigmoid(beta * sum) per node."""
        sums = np.bincount(nodes, values, minlength=len(parents))
        return 1 / (1 + np.exp(-BETA * sums))
