"""The language model's cross-entropy on the tokens of solutions, each weighted by the value of the node that holds it.

A node's scale (its question's weight, the part of its solutions that a filter keeps) multiplies its value. The loss
keeps the model a language model of right solutions while another loss teaches it to prefer (the supervised term beside
a preference loss); tokens of value 0 take no part.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from eduprm.prm.losses._contract import Batch

__all__ = ["Loss", "token_logprobs"]

CHUNK = 1024
"""Tokens whose logits over the vocabulary are held at once; they are computed again for the gradient."""


class Loss:
    """Normalised over the whole vocabulary; computed in float32, by chunks of tokens."""

    needs: ClassVar[Literal["head", "language_model"]] = "language_model"
    ignores: ClassVar[tuple[str, ...]] = ("weights",)

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the tokens' values."""
        return batch["values"][_predicted(batch)].sum()

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum over tokens of value * -log p(token | its path)."""
        rows, columns = _predicted(batch).nonzero(as_tuple=True)
        places = hidden[rows, batch["parents"][rows, columns]]
        logprobs = token_logprobs(places, output, batch["input_ids"][rows, columns])
        return -(batch["values"][rows, columns] * logprobs).sum()


def token_logprobs(places: torch.Tensor, output: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return log p(token) over the vocabulary, nats, float32 [n], after final hidden states `places` [n, D]."""
    parts = []
    for start in range(0, len(tokens), CHUNK):
        chunk = places[start : start + CHUNK], tokens[start : start + CHUNK]
        parts.append(checkpoint(_logprobs, *chunk, output, use_reentrant=False))
    # Without a token there is a gradient all the same, of nothing, the output's too: a batch of wrong solutions has a
    # backward pass, and DistributedDataParallel waits for ever for a weight that has none.
    return torch.cat(parts) if parts else output(places).sum(-1).float()


def _logprobs(places: torch.Tensor, tokens: torch.Tensor, output: Any) -> torch.Tensor:
    return -functional.cross_entropy(output(places).float(), tokens, reduction="none")


def _predicted(batch: Batch) -> torch.Tensor:
    """Which tokens, bool [B, L], have a value above 0 and a token before them."""
    return (batch["values"] > 0) & (batch["parents"] >= 0)
