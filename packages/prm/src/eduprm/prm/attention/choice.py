"""Choose a back end for a batch of trees, lay the trees out for it, and hand it to the model.

For collators, scorers, `packed_logits`. Dense masks cost L * L per row, so trees go
into short rows and rows are padded; gathered paths cost what the paths cost, so all trees go into one row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from eduprm.prm.attention.masks import tree_mask
from eduprm.prm.attention.segments import plan_segments
from eduprm.prm.attention.varlen import VARLEN, PathSegments, check_kernel, find_kernel
from eduprm.prm.packing import PackedRows, choose_rows, pack_rows
from eduprm.prm.tree import TokenTree

__all__ = ["TreeAttention", "attention_inputs", "implementation_of", "loaded_implementation"]

# With "auto", batches whose longest tree is shorter keep the dense mask. On an H200 a layer takes, forward and
# backward, 1.2 ms dense against 2.1 ms gathered at 200 tokens a tree, 1.6 against 2.2 at 1,000, 4.5 against 1.9 at
# 4,300.
DENSE_BELOW = 2048


def implementation_of(name: str, *, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return the name that transformers knows for a setting; `dtype` is that of the computation, autocast included.

    "auto" is `tree_varlen` where its kernels run (CUDA, half precision), elsewhere None: what transformers takes for
    the model by itself, sdpa as a rule.

    Examples:
        >>> implementation_of("varlen", device=torch.device("cpu"), dtype=torch.float32)
        'tree_varlen'
    """
    if name == "varlen":
        return VARLEN
    if name != "auto":
        return name
    half = dtype in (torch.bfloat16, torch.float16)
    return VARLEN if device.type == "cuda" and half and find_kernel() is not None else None


def loaded_implementation(name: str) -> str | None:
    """Return what a model is loaded with for a setting, None for transformers' own choice; see `settle_attention`."""
    return None if name in ("auto", "varlen") else name


@dataclass(frozen=True, slots=True)
class TreeAttention:
    """`implementation` as transformers knows it, `scale` as in `choose_rows`.

    `unit`: the one row of a batch that gathers paths is padded to a multiple of it; `dense_unit`: rows under a dense
    mask are. `always`: gather paths however short the trees are, if the implementation can.
    """

    implementation: str
    scale: int
    unit: int = 1
    always: bool = False
    dense_unit: int = 1

    def gathers(self, lengths: Sequence[int]) -> bool:
        """Return whether trees of these lengths are to attend to gathered paths."""
        if self.implementation != VARLEN:
            return False
        return self.always or max(lengths, default=0) >= DENSE_BELOW

    def pack(self, trees: Sequence[TokenTree], *, pad_id: int) -> tuple[PackedRows, dict[str, Any]]:
        """Return the rows, and the fields that `attention_inputs` reads from a batch beside `stops`.

        The fields are made here, on the CPU, so that nothing waits for a GPU later.
        """
        lengths = [tree.num_tokens for tree in trees]
        if self.gathers(lengths):
            packed = pack_rows(trees, [list(range(len(trees)))], pad_id=pad_id, unit=self.unit)
            return packed, segment_fields(packed.stops)
        packed = pack_rows(
            trees, choose_rows(lengths, attention_scale=self.scale), pad_id=pad_id, unit=self.dense_unit
        )
        return packed, {"causal": bool((packed.stops == packed.stops.shape[1]).all())}


def segment_fields(stops: np.ndarray) -> dict[str, Any]:
    """Return the fields of a batch that attends to gathered paths."""
    plan = plan_segments(stops)
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in plan._asdict().items()
    }


def attention_inputs(
    batch: Mapping[str, Any], *, implementation: str, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """Return the model's keyword arguments that say who sees whom in a batch with `stops` [B, L].

    Fields that `TreeAttention.pack` would have made are made here if the batch has none.

    Raises:
        ValueError: an implementation that cannot take a tree mask.
        RuntimeError: a varlen kernel that aligns causal attention otherwise.
    """
    stops = batch["stops"]
    if implementation != VARLEN or "causal" in batch:
        causal = batch["causal"] if "causal" in batch else bool((stops == stops.shape[1]).all())
        masks = "sdpa" if implementation == VARLEN else implementation
        if masks == "sdpa" and torch.is_autocast_enabled(stops.device.type):
            dtype = torch.get_autocast_dtype(stops.device.type)
        return {"attention_mask": tree_mask(stops, implementation=masks, dtype=dtype, causal=causal)}
    check_kernel(stops.device)
    fields = batch if "path_index" in batch else segment_fields(stops.cpu().numpy())
    index, queries, paths = (
        fields[name].to(stops.device) for name in ("path_index", "query_starts", "path_starts")
    )
    for tensor in (index, queries, paths):  # compiled layers take any number of keys and of segments
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    segments = PathSegments(index, queries, paths, fields["longest_query"], fields["longest_path"])
    return {"attention_mask": None, "tree_segments": segments}
