"""One number, or k of them, for every token of some trees: batches of a model's forward pass, each prefix once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from eduprm.prm.attention import TreeAttention, check_backbone
from eduprm.prm.merging import merge_trees
from eduprm.prm.model import check_ids, to_tensors, unwrap
from eduprm.prm.packing import group_by_length
from eduprm.prm.scorers._contract import StepScoring
from eduprm.prm.tree import TokenTree
from eduprm.prm.tree_cuts import split_tree

__all__ = ["token_values"]


def token_values(
    model: Any, scorer: StepScoring, trees: Sequence[TokenTree], *, pad_id: int, batch_tokens: int
) -> list[np.ndarray]:
    """Return the scorer's values of every token, float64 [T] or [T, k] per tree; NaN in prompts.

    What trees of one prompt have in common is computed once.

    Args:
        model: the classifier or the language model.
        scorer: gives the values.
        trees: as built.
        pad_id: any id that the model has.
        batch_tokens: most padded tokens of a forward pass; a larger tree is computed in pieces.
    """
    groups: dict[bytes, list[int]] = {}
    for index, tree in enumerate(trees):
        groups.setdefault(tree.token_ids[: tree.num_prompt_tokens].tobytes(), []).append(index)
    merged = [merge_trees([trees[index] for index in group]) for group in groups.values()]
    computed = _by_pieces(model, scorer, [one.tree for one in merged], pad_id, batch_tokens)
    results: list[np.ndarray] = [np.empty(0)] * len(trees)
    for group, (_, places), values in zip(groups.values(), merged, computed, strict=True):
        for index, place in zip(group, places, strict=True):
            results[index] = values[place]
    return results


def _by_pieces(
    model: Any, scorer: StepScoring, trees: Sequence[TokenTree], pad_id: int, batch_tokens: int
) -> list[np.ndarray]:
    results = [np.full(tree.num_tokens, np.nan) for tree in trees]
    pieces = [(index, piece) for index, tree in enumerate(trees) for piece in split_tree(tree, batch_tokens)]
    if not pieces:
        return results
    longest = max(int(piece.positions.max()) + 1 for _, piece in pieces)
    check_backbone(model.config, longest=longest)
    check_ids(model, trees)
    lengths = [piece.num_tokens for _, piece in pieces]
    for batch in group_by_length(lengths, batch_tokens=batch_tokens):
        chosen = [pieces[item] for item in batch]
        found = _forward(model, scorer, [piece for _, piece in chosen], pad_id)
        for (index, piece), values in zip(chosen, found, strict=True):
            starts, own = trees[index].starts, np.repeat(piece.owned, piece.lengths)
            shifts = np.repeat(starts[piece.rows] - piece.starts[:-1], piece.lengths)
            tokens = np.arange(piece.num_prompt_tokens, piece.num_tokens)
            if results[index].shape[1:] != values.shape[1:]:
                results[index] = np.full((trees[index].num_tokens, *values.shape[1:]), np.nan)
            results[index][(tokens + shifts)[own]] = values[tokens[own]]
    return results


@torch.inference_mode()
def _forward(model: Any, scorer: StepScoring, trees: Sequence[TokenTree], pad_id: int) -> list[np.ndarray]:
    """Return the values of the tokens that each tree answers for, float64 [T] or [T, k]; NaN elsewhere."""
    config = unwrap(model).config
    attention = TreeAttention(config._attn_implementation, scale=4 * config.get_text_config().hidden_size)
    packed, fields = attention.pack(trees, pad_id=pad_id)
    wanted = np.zeros(packed.input_ids.shape, dtype=bool)
    spans = [
        (row, slice(offset, offset + tree.num_tokens))
        for (row, offset), tree in zip(packed.slots, trees, strict=True)
    ]
    for (row, span), tree in zip(spans, trees, strict=True):
        wanted[row, span][tree.num_prompt_tokens :] = np.repeat(tree.owned, tree.lengths)
    batch = {**{name: tensor.to(model.device) for name, tensor in to_tensors(packed).items()}, **fields}
    found = scorer.values(model, batch, torch.from_numpy(wanted).to(model.device)).cpu().numpy()
    values = np.full((*wanted.shape, *found.shape[1:]), np.nan)
    values[wanted] = found
    return [values[row, span] for row, span in spans]
