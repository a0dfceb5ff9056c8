"""Preference at forks: the language model's own logits learn which of a tree's completions is the better one.

Where paths part, the tree gives each of the k tokens that follow a value v. With z the logits of these tokens alone
after the shared prefix, a fork's loss is the cross-entropy of softmax(z) against v, sum_i v_i * -log softmax(z)_i, and
the batch's is the sum over forks divided by the sum of their values. For two tokens a, b it is
v_a softplus(z_b - z_a) + v_b softplus(z_a - z_b): a direct preference with soft labels, without a reference model, and
restricted to the alternatives of the tree. Forks whose values are all equal prefer nothing and are left out. A choice's
scale (its question's weight, the part of its solutions that a filter keeps) multiplies its value in both sums.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch

from eduprm.prm.losses._contract import Batch

__all__ = ["Loss"]


class Loss:
    """Weighted by the values of the choices; computed in float32.

    Examples:
        >>> from eduprm.prm.vocabulary import VocabularyLogits
        >>> batch = {"fork_rows": torch.tensor([0, 0]), "fork_columns": torch.tensor([0, 0]),
        ...     "fork_tokens": torch.tensor([1, 2]), "fork_values": torch.tensor([1.0, 0.0]),
        ...     "fork_scales": torch.ones(2), "fork_groups": torch.tensor([0, 0])}
        >>> output = VocabularyLogits(torch.nn.Linear(4, 3, bias=False))
        >>> round(Loss().total(torch.zeros(1, 1, 4), output, batch).item(), 4)
        0.6931
    """

    needs: ClassVar[Literal["head", "language_model"]] = "language_model"
    ignores: ClassVar[tuple[str, ...]] = ("weights",)

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the scaled values at forks that prefer something."""
        return (batch["fork_values"] * batch["fork_scales"])[_unequal(batch)].sum()

    def total(self, hidden: torch.Tensor, output: Any, batch: Batch) -> torch.Tensor:
        """Return the sum over forks of the values' cross-entropy with the softmax over the fork's tokens."""
        kept = _unequal(batch)
        places = hidden[batch["fork_rows"][kept], batch["fork_columns"][kept]]
        tokens, groups = batch["fork_tokens"][kept], batch["fork_groups"][kept]
        logits = output.chosen(places, tokens)  # not those of the whole vocabulary
        count = int(batch["fork_groups"].max()) + 1 if len(batch["fork_groups"]) else 0
        highest = torch.full((count,), -torch.inf, device=logits.device)
        highest = highest.scatter_reduce(0, groups, logits.detach(), "amax")
        shifted = logits - highest[groups]
        normaliser = torch.zeros(count, device=logits.device).index_add(0, groups, shifted.exp())
        values = batch["fork_values"][kept] * batch["fork_scales"][kept]
        return (values * (normaliser[groups].log() - shifted)).sum()


def _unequal(batch: Batch) -> torch.Tensor:
    """Which choices, bool [C], are of a fork whose values differ."""
    values, groups = batch["fork_values"], batch["fork_groups"]
    if not len(groups):
        return torch.zeros(0, dtype=torch.bool, device=groups.device)
    count = int(groups.max()) + 1
    most = torch.full((count,), -torch.inf, device=values.device).scatter_reduce(0, groups, values, "amax")
    least = torch.full((count,), torch.inf, device=values.device).scatter_reduce(0, groups, values, "amin")
    return (most - least > 1e-6)[groups]
