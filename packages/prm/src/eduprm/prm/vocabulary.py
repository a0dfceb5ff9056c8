"""From final hidden states to logits over the vocabulary, as the model's own class makes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["VocabularyLogits"]


class VocabularyLogits(nn.Module):
    """The output embedding, and what a model does to its logits: a factor (Granite, Cohere), a soft cap (Gemma 2).

    Args:
        embedding: hidden states [n, D] to [n, V]; an adapter on it is a module like another.
        scale: multiplies the logits.
        cap: c in c * tanh(logits / c), after the factor; None does nothing.

    Examples:
        >>> embedding = torch.nn.Linear(2, 5, bias=False)
        >>> logits = VocabularyLogits(embedding, scale=0.5, cap=30.0)
        >>> tuple(logits(torch.zeros(3, 2)).shape)
        (3, 5)
    """

    def __init__(self, embedding: nn.Module, *, scale: float = 1.0, cap: float | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self._scale, self._cap = scale, cap

    @classmethod
    def of(cls, model: Any) -> VocabularyLogits:
        """Return those of a language model, by what its config says."""
        config = model.config.get_text_config()
        divisor, factor = getattr(config, "logits_scaling", None), getattr(config, "logit_scale", None)
        return cls(
            model.get_output_embeddings(),
            scale=1 / divisor if divisor is not None else 1.0 if factor is None else factor,
            cap=getattr(config, "final_logit_softcapping", None),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits [n, V] after final hidden states [n, D]."""
        if isinstance(self.embedding, nn.Linear):
            # A call of the module would run FSDP's hooks, which free weights that are tied to it, before they are used.
            return self._finish(functional.linear(hidden, self.embedding.weight, self.embedding.bias))
        return self._finish(self.embedding(hidden))

    def chosen(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return one logit [n], float32, after each of the final hidden states [n, D]: that of its token."""
        if not isinstance(self.embedding, nn.Linear):
            # An adapter on it: its weight alone is not what it computes.
            return self(hidden).float().gather(1, tokens[:, None])[:, 0]
        logits = (hidden.float() * self.embedding.weight[tokens].float()).sum(-1)
        if self.embedding.bias is not None:
            logits = logits + self.embedding.bias[tokens].float()
        return self._finish(logits)

    def _finish(self, logits: torch.Tensor) -> torch.Tensor:
        if self._scale != 1.0:
            logits = logits * self._scale
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)
