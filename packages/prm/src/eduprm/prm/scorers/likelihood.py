"""The language model's own probability of each node: exp of the least, mean or sum of its tokens' log-probs.

A model that was trained to prefer at the forks of trees (`eduprm.prm.losses.fork`) is a PRM by itself: a path is as
good as the least probable of its tokens. Log-probs are at temperature 1 over the whole vocabulary, so that any server
that returns the log-probs of its input gives the same scores.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from eduprm.prm.config import Scoring
from eduprm.prm.losses._contract import Batch
from eduprm.prm.losses.language_model import token_logprobs
from eduprm.prm.model import language_model_output, packed_hidden

__all__ = ["Scorer", "fold_logprobs"]


def fold_logprobs(logprobs: torch.Tensor, nodes: torch.Tensor, *, count: int, fold: str) -> torch.Tensor:
    """Return exp of the min, mean or sum over each node's tokens, float64 [count].

    Args:
        logprobs: [n], nats.
        nodes: int64 [n], the node of each token; every node in 0..count - 1 has one at least.
        count: nodes.
        fold: "min", "mean" or "sum".

    Examples:
        >>> logprobs = torch.tensor([0.5, 0.25, 1.0]).log()
        >>> fold_logprobs(logprobs, torch.tensor([0, 0, 1]), count=2, fold="min").round(decimals=6).tolist()
        [0.25, 1.0]
        >>> fold_logprobs(logprobs, torch.tensor([0, 0, 1]), count=2, fold="sum").round(decimals=6).tolist()
        [0.125, 1.0]
    """
    logprobs = logprobs.double()
    if fold == "min":
        least = torch.full((count,), torch.inf, dtype=torch.float64, device=logprobs.device)
        return least.scatter_reduce(0, nodes, logprobs, "amin").exp()
    sums = torch.zeros(count, dtype=torch.float64, device=logprobs.device).index_add(0, nodes, logprobs)
    if fold == "mean":
        sums = sums / torch.bincount(nodes, minlength=count)
    return sums.exp()


class Scorer:
    """Scores by `Scoring.fold`.

    Raises:
        ValueError: a prompt without tokens: the first token of a solution would have no probability.
    """

    needs: ClassVar[Literal["head", "language_model"]] = "language_model"

    def __init__(self, settings: Scoring) -> None:
        self.fold = settings.fold

    def scores(self, model: torch.nn.Module, batch: Batch, tokens: torch.Tensor) -> torch.Tensor:
        """Return the folded probability per node, float64 [N]."""
        rows, columns = (tokens >= 0).nonzero(as_tuple=True)
        before = batch["parents"][rows, columns]
        if bool((before < 0).any()):
            raise ValueError("expected a prompt before every solution, got one without tokens")
        places = packed_hidden(model, batch)[rows, before]
        logprobs = token_logprobs(places, language_model_output(model), batch["input_ids"][rows, columns])
        return fold_logprobs(logprobs, tokens[rows, columns], count=len(batch["node_rows"]), fold=self.fold)
