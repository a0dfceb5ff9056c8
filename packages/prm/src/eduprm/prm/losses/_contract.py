"""What a loss is.

A loss is a sum over places of a batch and the weight of those places. The trainer divides the sum by the weight of all
micro-batches of an optimiser step, over all processes, and adds the losses up by their shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

import torch

__all__ = ["Batch", "LossFunction"]

Batch = Mapping[str, torch.Tensor]
"""Tensors of `eduprm.prm.packing.PackedRows` by name: `input_ids`, `position_ids`, `stops`, `parents`, `values` [B, L];
`used` [B];
`node_rows`, `node_columns`, `node_lengths`, `node_targets`, `node_weights`, `node_scales`, `node_parents`,
`node_trees` [N]; `fork_rows`, `fork_columns`, `fork_tokens`, `fork_values`, `fork_scales`, `fork_groups` [C]. Losses at
steps weigh by `node_weights`; others by scales, which `values` already hold, so that what weighs questions and leaves
solutions out holds for every loss."""


class LossFunction(Protocol):
    """A class without settings of its own; `needs` says which output of the model it reads.

    Four more attributes it may have: `labels`, tuple of the names of the head's outputs where they are others than
    wrong and right (losses and scorer that read the head agree on them); `reference`, True where it reads
    `reference_logprobs` of the batch, float32 [B, L]: log p of each token by the model before training. That wants
    LoRA, whose base is that model; `pairs`, True where it compares siblings, which a tree cut into pieces
    (`split_tree`) may part: the training says so; `ignores`, tuple of what of the labels changes nothing for it:
    "weights", how much one step of a question weighs beside another, "values", of all nodes but leaves. The pipeline
    says so of options.
    """

    needs: ClassVar[Literal["head", "language_model"]]

    def weight(self, batch: Batch) -> torch.Tensor:
        """Return the weight of the batch's places, a scalar; 0 where it holds none."""
        ...

    def total(self, hidden: torch.Tensor, output: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the weighted sum over the batch's places, a float32 scalar.

        Args:
            hidden: [B, L, D], the backbone's final hidden states.
            output: what `needs` names: the head (D to its labels) or `VocabularyLogits` (D to vocabulary).
            batch: the packed rows.
        """
        ...
