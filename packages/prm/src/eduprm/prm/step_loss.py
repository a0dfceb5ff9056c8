"""The loss of an optimiser step: each of its losses divided by its own weight of the step, and added up by shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from eduprm.core.registry import load
from eduprm.prm.losses._contract import LossFunction
from eduprm.prm.model import head_output, language_model_output

__all__ = ["Shares", "load_losses", "loss_weights", "step_loss"]

Shares = Sequence[tuple[LossFunction, float]]
"""Losses and the share of each."""


def load_losses(shares: Mapping[str, float]) -> Shares:
    """Return the losses of these names (`eduprm.prm.losses`, or package.module:Loss) with their shares.

    Raises:
        ValueError: no such loss.
    """
    return [(load("eduprm.prm.losses", name, "Loss")(), share) for name, share in shares.items()]


def loss_weights(losses: Shares, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return what a micro-batch weighs for each loss, float32 [losses]."""
    return torch.stack([loss.weight(batch) for loss, _ in losses])


def step_loss(
    losses: Shares,
    model: Any,
    hidden: torch.Tensor,
    batch: Mapping[str, Any],
    totals: Iterable[torch.Tensor | float],
) -> torch.Tensor:
    """Return a micro-batch's part of the step's loss, float32 scalar.

    Args:
        losses: with their shares.
        model: head or output embedding are read off it.
        hidden: [B, L, D] of the micro-batch.
        batch: its packed rows.
        totals: what the whole step weighs for each loss.
    """
    loss = hidden.new_zeros((), dtype=torch.float32)
    for (function, share), total in zip(losses, totals, strict=True):
        output = head_output(model) if function.needs == "head" else language_model_output(model)
        part = function.total(hidden, output, batch)
        # A step without any place of this loss (no fork, say) has nothing to divide by.
        loss = loss + share * part / torch.as_tensor(total).clamp_min(torch.finfo(torch.float32).tiny)
    return loss
