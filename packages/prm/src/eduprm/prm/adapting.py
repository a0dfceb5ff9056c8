"""A PRM after a few LoRA steps on one problem's solutions, for as long as a with block lasts.

Test-time training (Sun et al., arXiv 1909.13231): labels come from the test data themselves. The base stays frozen and
the adapters are taken out again, so the model behind the block is the one before it, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from eduprm.prm.adapters import add_lora
from eduprm.prm.attention import TreeAttention
from eduprm.prm.config import LoraSettings
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.loading import HEADS, LABELS
from eduprm.prm.merging import merge_trees
from eduprm.prm.model import packed_hidden, to_tensors
from eduprm.prm.packing import PAD
from eduprm.prm.score import ProcessRewardModel
from eduprm.prm.solutions import Ids
from eduprm.prm.step_loss import load_losses, loss_weights, step_loss
from eduprm.prm.tree import TokenTree, build_tree
from eduprm.prm.tree_cuts import split_tree

__all__ = ["adapted", "adapting_losses", "voted_tree"]


def adapting_losses(prm: ProcessRewardModel) -> dict[str, float]:
    """Return the losses that change what the PRM scores by: cross_entropy for a head, fork for likelihood.

    Raises:
        ValueError: a published PRM, a head of other outputs, or a model that is scored against a reference or with
            weights of 8 bits.
    """
    scorer, model = prm.scorer, prm.model
    # Weights of 8 bits call themselves floating-point, and are tensors of a class of their own.
    whole = all(type(parameter) is torch.nn.Parameter for parameter in model.parameters())
    plain = isinstance(prm.builder, InputBuilder) and not hasattr(model, "peft_config") and whole
    if not plain or getattr(scorer, "labels", LABELS) != LABELS:
        raise ValueError(
            "expected a PRM of ours that scores by a head of two labels or by likelihood, with whole weights"
        )
    return {"cross_entropy": 1.0} if scorer.needs == "head" else {"fork": 1.0}


def voted_tree(solutions: Sequence[Ids], votes: Sequence[float]) -> TokenTree:
    """Return solutions of one prompt as a tree: a node's target is the mean vote of those that pass through it.

    Args:
        solutions: prompt ids (the same in all) and ids of each step.
        votes: in [0, 1], one per solution.

    Examples:
        >>> tree = voted_tree([([9], [[1, 2], [3]]), ([9], [[1, 4]])], [1.0, 0.0])
        >>> tree.targets.tolist(), tree.weights.tolist()  # 1 of both, then 2 3 and 4
        ([0.5, 1.0, 0.0], [2.0, 1.0, 1.0])
    """
    chains = [build_tree(prompt, steps, range(-1, len(steps) - 1)) for prompt, steps in solutions]
    tree, places = merge_trees(chains)
    count, right = np.zeros(tree.num_tokens), np.zeros(tree.num_tokens)
    for own, vote in zip(places, votes, strict=True):
        count[own] += 1
        right[own] += vote
    last = tree.last_tokens
    nodes = [
        tree.token_ids[start:stop] for start, stop in zip(tree.starts[:-1], tree.starts[1:], strict=True)
    ]
    prompt = tree.token_ids[: tree.num_prompt_tokens]
    return build_tree(prompt, nodes, tree.parents, targets=right[last] / count[last], weights=count[last])


@contextmanager
def adapted(
    prm: ProcessRewardModel,
    tree: TokenTree,
    *,
    steps: int = 2,
    learning_rate: float = 3e-5,
    rank: int = 8,
    seed: int = 0,
) -> Iterator[ProcessRewardModel]:
    """Give the PRM after `steps` of AdamW on `tree`; behind the block it is as before.

    Raises:
        ValueError: as `adapting_losses`.
    """
    losses = load_losses(adapting_losses(prm))
    base = prm.model
    heads = {name: getattr(base, name) for name in HEADS if hasattr(base, name)}
    needed = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    devices = [base.device] if base.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        lora = LoraSettings(rank=rank, alpha=2.0 * rank)
        model = add_lora(base, lora, last_layers=None, cast_inputs=base.dtype != torch.float32)
    other = copy.copy(prm)
    other.model = model
    try:
        _train(other, tree, losses, steps=steps, learning_rate=learning_rate)
        yield other
    finally:
        model.unload()
        for name, head in heads.items():  # peft leaves the copy that it trained
            setattr(base, name, head)
        for parameter, before in needed:
            parameter.requires_grad_(before)
            parameter.grad = None
        if hasattr(base, "peft_config"):
            del base.peft_config


@torch.enable_grad()
def _train(
    prm: ProcessRewardModel, tree: TokenTree, losses: Any, *, steps: int, learning_rate: float
) -> None:
    model = prm.model
    config = model.get_base_model().config
    attention = TreeAttention(config._attn_implementation, scale=4 * config.get_text_config().hidden_size)
    batches = []
    for piece in split_tree(tree, prm.batch_tokens):
        packed, fields = attention.pack([piece], pad_id=PAD)
        tensors = {name: tensor.to(model.device) for name, tensor in to_tensors(packed).items()}
        batches.append({**tensors, **fields})
    totals = torch.stack([loss_weights(losses, batch) for batch in batches]).sum(0)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
    for _ in range(steps):
        for batch in batches:
            step_loss(losses, model, packed_hidden(model, batch), batch, totals).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
