"""Hidden states of packed rows by our own layers: frozen layers outside autograd and once per tree, the rest compiled.

For training on CPUs. Measured against transformers' own forward in
packages/prm/benchmarks/bench_cpu.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from eduprm.prm.attention import dense_mask
from eduprm.prm.fast.kept import KeptStates
from eduprm.prm.fast.layer import Layer, decoder_layer, rms_norm
from eduprm.prm.fast.segments import find_segments
from eduprm.prm.fast.weights import (
    UnsupportedModelError,
    activation_of,
    decoder_of,
    first_trained_layer,
    layer_weights,
    shape_of,
)

__all__ = ["FastBackbone"]

HIDDEN = -1e9


class FastBackbone:
    """Computes [B, L, C] of packed rows from the parameters of `model`, which stay where they are.

    `dtype` is the compute dtype: frozen weights are cast once, trained ones at every call, so that their float32
    masters get the gradients. `kept_bytes` bounds the memory of the hidden states below the lowest trained layer.
    """

    def __init__(
        self, model: Any, *, dtype: torch.dtype, kept_bytes: int = 0, compiled: bool = False
    ) -> None:
        self.decoder = decoder_of(model)
        self.shape, self.dtype = shape_of(self.decoder), dtype
        self.first = first_trained_layer(self.decoder)
        self.kept = KeptStates(kept_bytes)
        self._frozen = [self._weights(index) for index in range(self.first)]
        self._embedding = self.decoder.embed_tokens.weight.detach().to(dtype) if self.first else None
        call = partial(decoder_layer, shape=self.shape, activation=activation_of(self.decoder))
        self._plain = call
        self._layer = torch.compile(call) if compiled else call
        self._compiled = compiled

    def _weights(self, index: int) -> Layer:
        return layer_weights(self.decoder.layers[index], self.dtype)

    def hidden(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the final norm's output [B, L, C] in the compute dtype.

        `batch`: `input_ids`, `position_ids`, `stops` [B, L] and `used` [B].
        Padding (see `used` in `find_segments`) has values without meaning.
        """
        with torch.autocast(batch["input_ids"].device.type, enabled=False):
            x = self._lower(batch)
            inside = self._layer_inputs(x, batch["position_ids"], batch["stops"])
            compiled = self._compiled and torch.is_grad_enabled()
            call = self._layer if compiled else self._plain
            for index in range(self.first, len(self.decoder.layers)):
                if compiled:
                    _let_lengths_vary(x, *inside)
                x = call(x, *inside, self._weights(index))
            norm = self.decoder.norm
            return rms_norm(x, norm.weight.to(self.dtype), norm.variance_epsilon)

    def _embed(self, ids: torch.Tensor) -> torch.Tensor:
        if self._embedding is not None:
            return functional.embedding(ids, self._embedding)
        return functional.embedding(ids, self.decoder.embed_tokens.weight).to(self.dtype)

    def _layer_inputs(
        self, x: torch.Tensor, positions: torch.Tensor, stops: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return cos and sin [B, L, 1, D / 2], and the mask as float32 [B, 1, 1, L, L] to add to scores."""
        cos, sin = self.decoder.rotary_emb(x, positions)
        half = self.shape.width // 2
        if cos.shape[-1] != self.shape.width:
            raise UnsupportedModelError("a rotary embedding of part of a head")
        bias = torch.zeros(()).masked_fill(~dense_mask(stops), HIDDEN)[:, :, None]
        return cos[..., None, :half].contiguous(), sin[..., None, :half].contiguous(), bias

    def _lower(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what enters the lowest trained layer [B, L, C]; zeros where there is padding."""
        ids = batch["input_ids"]
        if self.first == 0:
            return self._embed(ids)
        x = torch.zeros(
            *ids.shape, self.decoder.embed_tokens.embedding_dim, dtype=self.dtype, device=ids.device
        )
        for part in find_segments(batch):
            span = slice(part.start, part.end)
            tokens, positions, stops = (
                batch[name][part.row : part.row + 1, span] for name in ("input_ids", "position_ids", "stops")
            )
            compute = partial(self._one_tree, tokens, positions, stops, part.start)
            x[part.row, span] = self.kept.get(part.key, compute)
        return x

    @torch.no_grad()
    def _one_tree(
        self, ids: torch.Tensor, positions: torch.Tensor, stops: torch.Tensor, start: int
    ) -> torch.Tensor:
        """Return the frozen layers' output [T, C] of one tree on its own: the same bits whatever it is packed with."""
        x = self._embed(ids)
        inside = self._layer_inputs(x, positions, (stops - start).clamp(max=ids.shape[1]))
        for weights in self._frozen:
            x = self._plain(x, *inside, weights)
        return x[0]


def _let_lengths_vary(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, bias: torch.Tensor) -> None:
    """Have rows and their length compiled as variables: one compilation, not one for each shape of a batch."""
    for tensor, dimensions in ((x, (0, 1)), (cos, (0, 1)), (sin, (0, 1)), (bias, (0, 3, 4))):
        torch._dynamo.maybe_mark_dynamic(tensor, dimensions)
