"""The model as it was before training, as the reference of a model with adapters: the same weights, adapters off.

For losses and scorers that compare the two, without a second model in memory. A saved folder holds the trained model
with its adapter merged, and the adapter beside it; taken out of the weights again, it stands as in training, so the
folder needs no other model, and no path to one.
Source: the reference of a preference loss under LoRA, as in TRL's DPO; peft's merging.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from eduprm.prm.losses.language_model import token_logprobs
from eduprm.prm.model import language_model_output, model_hidden

__all__ = ["attach_reference", "node_tokens", "reference_logprobs"]

ADAPTER = "adapter"
"""Folder of a PRM's adapter in its own (`eduprm.prm.saving`)."""


def reference_logprobs(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return log p by the reference of each token of a node after its path, nats, float32 [B, L]; 0 elsewhere.

    Raises:
        ValueError: a model without adapters.
    """
    whole = getattr(model, "module", model)  # DistributedDataParallel's wrapper has no such method
    if not hasattr(whole, "disable_adapter"):
        raise ValueError("expected a model with LoRA adapters: without them it is its own reference")
    known = torch.zeros(batch["input_ids"].shape, device=batch["input_ids"].device)
    _, rows, columns = node_tokens(batch)
    was_training = whole.training
    whole.eval()  # some backbones have dropout: the reference is one model, not another one in each micro-batch
    with torch.no_grad(), whole.disable_adapter():
        places = model_hidden(model, batch)[rows, batch["parents"][rows, columns]]
        known[rows, columns] = token_logprobs(
            places, language_model_output(model), batch["input_ids"][rows, columns]
        )
    whole.train(was_training)
    return known


def node_tokens(batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return node, row and column, int64 [n] each, of the tokens of the batch's nodes that have a token before them."""
    lengths = batch["node_lengths"]
    nodes = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    first = batch["node_columns"] - lengths.cumsum(0) + 1
    rows, columns = batch["node_rows"][nodes], first[nodes] + torch.arange(len(nodes), device=lengths.device)
    known = batch["parents"][rows, columns] >= 0
    return nodes[known], rows[known], columns[known]


def attach_reference(model: Any, path: str | Path) -> Any:
    """Return a PRM's language model with its adapter as in training: off, the model is the reference.

    Args:
        model: the merged model of `path`.
        path: folder or hub name of the PRM.

    Raises:
        ValueError: no adapter there.
    """
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    folder = Path(path) / ADAPTER
    try:
        if not Path(path).is_dir():
            wrapped = PeftModel.from_pretrained(model, str(path), subfolder=ADAPTER)
        elif (folder / "adapter_config.json").is_file():
            wrapped = PeftModel.from_pretrained(model, str(folder))
        else:
            raise ValueError("no such folder")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} scores against the model it was trained from, which its folder {ADAPTER!r} gives: expected a PRM "
            f"trained with LoRA by a loss with a reference, got {str(error).splitlines()[0]}"
        ) from error
    with torch.no_grad():
        for module in wrapped.modules():
            if isinstance(module, BaseTunerLayer):
                module.merged_adapters.extend(wrapped.active_adapters)  # as they are in these weights
        wrapped.unmerge_adapter()
    return wrapped
