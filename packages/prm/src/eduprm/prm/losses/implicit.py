"""A language model that is a reward model by itself: right answers are to gain probability over the model before it.

The reward of a path is r = beta * sum over its tokens of ln pi(token) / pi_ref(token), and the loss of a leaf is the
binary cross-entropy of sigmoid(r) with its value. Steps are never labelled: the reward of a step is its own part of
the sum (`eduprm.prm.scorers.implicit`).

Source: implicit PRM (arXiv 2412.01981) and PRIME (arXiv 2502.01456), beta .05 as in PRIME's code. On a tree every leaf
is an outcome, weighed by its label's weight; shared tokens are computed once and counted on each path through them.
The token at which paths part has several next ones: each of these takes its two log-probs at that token's state, the
one before it on its own path, as TRL's packed trees do (a gather of pairs of position and target). A label between 0
and 1 (a cut leaf) is a soft outcome, which is our reading.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch.nn import functional

from eduprm.prm.losses._contract import Batch
from eduprm.prm.losses.language_model import token_logprobs
from eduprm.prm.reference import node_tokens

__all__ = ["BETA", "Loss", "path_sums"]

BETA = 0.05


class Loss:
    """Weighted by the labels' weights at leaves; computed in float32. Wants LoRA, whose base is the reference.

    Examples:
        >>> batch = {"input_ids": torch.tensor([[0, 1, 2]]), "parents": torch.tensor([[-1, 0, 0]]),
        ...     "reference_logprobs": torch.full((1, 3), -1.0986123), "node_rows": torch.tensor([0, 0]),
        ...     "node_columns": torch.tensor([1, 2]), "node_lengths": torch.tensor([1, 1]),
        ...     "node_targets": torch.tensor([1.0, 0.0]), "node_weights": torch.ones(2),
        ...     "node_parents": torch.tensor([-1, -1])}
        >>> round(Loss().total(torch.zeros(1, 3, 4), torch.nn.Linear(4, 3, bias=False), batch).item(), 4)  # 2 ln 2
        1.3863
    """

    needs: ClassVar[Literal["head", "language_model"]] = "language_model"
    reference: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = ("weights", "values")

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the sum of the leaves' weights."""
        return batch["node_weights"][_leaves(batch)].sum()

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum over leaves of weight * binary cross-entropy of sigmoid(r) with the leaf's target."""
        leaves = _leaves(batch)
        rewards = BETA * path_sums(_node_ratios(hidden, output, batch), batch["node_parents"])[leaves]
        losses = functional.binary_cross_entropy_with_logits(
            rewards, batch["node_targets"][leaves], reduction="none"
        )
        return (batch["node_weights"][leaves] * losses).sum()


def path_sums(values: torch.Tensor, parents: torch.Tensor) -> torch.Tensor:
    """Return for each of N nodes the sum of `values` [N] over it and all above it, by doubling steps upwards.

    Examples:
        >>> path_sums(torch.tensor([1.0, 10.0, 100.0]), torch.tensor([-1, 0, 1])).tolist()
        [1.0, 11.0, 111.0]
    """
    while bool((parents >= 0).any()):
        above = parents.clamp_min(0)
        values = values + torch.where(parents >= 0, values[above], 0.0)
        parents = torch.where(parents >= 0, parents[above], parents)
    return values


def _leaves(batch: Batch) -> torch.Tensor:
    """Which nodes, bool [N], are labelled and have none below."""
    below = torch.zeros_like(batch["node_weights"], dtype=torch.bool)
    below[batch["node_parents"][batch["node_parents"] >= 0]] = True
    return (batch["node_weights"] > 0) & ~below


def _node_ratios(hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Sum over each node's own tokens of ln pi / pi_ref, float32 [N]; a token that nothing precedes counts nothing."""
    nodes, rows, columns = node_tokens(batch)
    places = hidden[rows, batch["parents"][rows, columns]]
    own = token_logprobs(places, output, batch["input_ids"][rows, columns])
    ratios = own - batch["reference_logprobs"][rows, columns]
    return ratios.new_zeros(len(batch["node_lengths"])).index_add(0, nodes, ratios)
