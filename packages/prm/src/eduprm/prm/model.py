"""A model on packed rows: its inputs, its hidden states, and its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from eduprm.prm.attention import attention_inputs
from eduprm.prm.fast import fast_hidden
from eduprm.prm.loading import HEADS
from eduprm.prm.packing import PackedRows
from eduprm.prm.tree import TokenTree
from eduprm.prm.vocabulary import VocabularyLogits

__all__ = [
    "check_ids",
    "head_output",
    "language_model_output",
    "model_hidden",
    "packed_hidden",
    "packed_logits",
    "to_tensors",
    "unwrap",
]


def unwrap(model: Any) -> Any:
    """Return the model itself, with its adapters, without the wrappers of peft and DistributedDataParallel."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def check_ids(model: Any, trees: Sequence[TokenTree]) -> None:
    """Refuse tokens that a model has no embedding of; on a GPU they would end the process.

    Raises:
        ValueError: names the first tree that holds one.
    """
    rows = unwrap(model).get_input_embeddings().weight.shape[0]
    for tree in trees:
        largest = max((int(ids.max()) for ids in (tree.token_ids, tree.forks.tokens) if len(ids)), default=0)
        if largest >= rows:
            raise ValueError(
                f"tree {tree.name}: expected token ids below {rows}, the rows of the model's embedding, got {largest}: "
                "the tokenizer has tokens that the model lacks"
            )


def to_tensors(packed: PackedRows) -> dict[str, torch.Tensor]:
    """Return the arrays of packed rows as tensors, named as in `eduprm.prm.losses._contract.Batch`."""
    names = ("input_ids", "position_ids", "stops", "parents", "values", "used")
    arrays = {name: getattr(packed, name) for name in names}
    arrays |= {f"node_{name}": part for name, part in packed.nodes._asdict().items()}
    arrays |= {f"fork_{name}": part for name, part in packed.forks._asdict().items()}
    return {name: torch.from_numpy(part) for name, part in arrays.items()}


def language_model_output(model: Any) -> VocabularyLogits:
    """Return what makes logits over the vocabulary of hidden states."""
    return VocabularyLogits.of(unwrap(model))


def head_output(model: Any) -> nn.Module:
    """Return the head, hidden states to the logits wrong and right."""
    inner = unwrap(model)
    head: nn.Module = getattr(inner, next(name for name in HEADS if hasattr(inner, name)))
    return head


def _outputs(model: Any, batch: Mapping[str, Any], call: Any, **options: Any) -> Any:
    """Return what `call`, the model or a part of it, says to the rows."""
    implementation = unwrap(model).config._attn_implementation
    dtype = next(model.parameters()).dtype
    return call(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        use_cache=False,
        **attention_inputs(batch, implementation=implementation, dtype=dtype),
        **options,
    )


def packed_logits(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return a classifier's logits [B, L, 2] of packed rows: `input_ids`, `position_ids`, `stops`, each [B, L].

    `batch` may hold the fields of `TreeAttention.pack`, made ahead so that nothing here waits for the GPU.
    """
    logits: torch.Tensor = _outputs(model, batch, model).logits
    return logits


def packed_hidden(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the final hidden states [B, L, D], behind the last norm, of packed rows.

    By our own layers where `prepare_fast` put them, otherwise as `model_hidden`.
    """
    hidden = fast_hidden(model, batch)
    return model_hidden(model, batch) if hidden is None else hidden


def model_hidden(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the final hidden states [B, L, D], by the backbone alone where nothing hooks into the whole model.

    DistributedDataParallel and FSDP do; there a language model computes the logits of one position on the way, and the
    hidden states of all layers are collected.
    """
    inner = unwrap(model)
    if not hasattr(model, "module") and not isinstance(model, FSDPModule):
        last: torch.Tensor = _outputs(model, batch, inner.base_model).last_hidden_state
        # As accelerate does with what the whole model returns.
        return last.float() if torch.is_autocast_enabled(last.device.type) else last
    options: dict[str, Any] = {"output_hidden_states": True}
    if unwrap(model).get_output_embeddings() is not None:
        options["logits_to_keep"] = 1
    states: torch.Tensor = _outputs(model, batch, model, **options).hidden_states[-1]
    return states
