"""What a training's losses find in its data: a loss that finds nothing, or less than there is, is said.

Where none finds anything, there is nothing to train.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from eduprm.prm.model import to_tensors
from eduprm.prm.packing import pack_rows
from eduprm.prm.step_loss import load_losses
from eduprm.prm.tree import TokenTree

__all__ = ["learned_from", "say_idle_losses", "say_parted_pairs"]


def learned_from(piece: TokenTree, losses: Mapping[str, float]) -> bool:
    """Whether one of the `losses` finds something in a piece, which may have forks and tokens but no labelled step."""
    if (piece.weights > 0).any():
        return True
    batch = to_tensors(pack_rows([piece], [[0]], pad_id=0))
    return any(float(loss.weight(batch)) > 0 for loss, _ in load_losses(losses))


def say_idle_losses(pieces: Sequence[TokenTree], losses: Mapping[str, float]) -> None:
    """Warn of each of the `losses` whose weight is 0 on all `pieces`, and name a choice for data without forks.

    A loss is asked until it finds something, as a rule at the first piece.

    Warns:
        UserWarning: one for each such loss.

    Raises:
        ValueError: all of them.
    """
    idle = {name: loss for name, (loss, _) in zip(losses, load_losses(losses), strict=True)}
    for piece in pieces:
        batch = to_tensors(pack_rows([piece], [[0]], pad_id=0))
        idle = {name: loss for name, loss in idle.items() if not float(loss.weight(batch)) > 0}
        if not idle:
            return
    forks = any(len(piece.forks.nodes) for piece in pieces)
    said = []
    for name in idle:
        if forks:
            rest = "it finds no place to learn from in these data; take it out or take other data"
        else:
            rest = (
                "the data have no forks (places where solutions of one prompt part). For solutions without forks take "
                "TrainConfig(losses={'cross_entropy': 1.0}, scoring=Scoring(kind='head')), which learns from the "
                "labels of wrong steps too"
            )
        said.append(f"the loss {name} weighs 0 on all trees and trains nothing: {rest}")
    if len(idle) == len(losses):
        raise ValueError(
            said[0] if len(said) == 1 else f"none of {', '.join(idle)} finds anything; {said[0]}"
        )
    for line in said:
        warnings.warn(line, stacklevel=4)


def say_parted_pairs(trees: Sequence[TokenTree], losses: Mapping[str, float], *, batch_tokens: int) -> None:
    """Warn where one of the `losses` compares siblings and trees are cut between them, being above `batch_tokens`.

    Warns:
        UserWarning: with the number of such trees.
    """
    comparing = [
        name
        for name, (loss, _) in zip(losses, load_losses(losses), strict=True)
        if getattr(loss, "pairs", False)
    ]
    parted = sum(tree.num_tokens > batch_tokens for tree in trees)
    if comparing and parted:
        warnings.warn(
            f"{parted} of {len(trees)} trees have more than batch_tokens={batch_tokens} tokens and are cut: "
            f"{comparing[0]} compares no siblings across a cut; raise batch_tokens to have all pairs",
            stacklevel=4,
        )
