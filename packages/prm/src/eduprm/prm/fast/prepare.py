"""Put our own decoder layers beside a model's, once they are seen to compute the same.

For the trainer. Nothing is replaced in the model: checkpoints, merging and saving see it
as it was.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from eduprm.prm.attention import tree_mask
from eduprm.prm.config import TrainConfig
from eduprm.prm.fast.backbone import FastBackbone
from eduprm.prm.fast.machine import cpp_compiler
from eduprm.prm.fast.weights import UnsupportedModelError
from eduprm.prm.processes import num_processes

__all__ = ["fast_hidden", "prepare_fast"]

PLACE = "fast_backbone"
# A compilation takes about a minute of two cores; it is not worth it for less than some ten minutes of training.
COMPILE_FROM = 5e13  # tokens times trained decoder weights
# Least cosine of gradients, largest relative error of hidden states.
TOLERANCE = {torch.float32: (0.9999, 1e-3), torch.bfloat16: (0.99, 5e-2)}


def fast_hidden(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """Return hidden states [B, L, C] after the final norm by our own layers; None if `prepare_fast` did not allow them.

    `batch`: `input_ids`, `position_ids`, `stops` [B, L] and, so that padding is not taken for tokens, `used` [B].
    """
    fast: FastBackbone | None = getattr(model, PLACE, None)
    return None if fast is None else fast.hidden(batch)


def prepare_fast(model: Any, config: TrainConfig, *, tokens: int = 0) -> str:
    """Let `fast_hidden` compute for `model`, where it can; return what computes, in a word and with the reason.

    `tokens` that will be trained on decide whether a compilation pays (`cpu_layers="auto"`).

    Warns:
        UserWarning: what was asked for by name, or would pay, cannot be had.
    """
    reason = _not_meant_for(config)
    if reason is None:
        try:
            return _prepare(model, config, tokens)
        except UnsupportedModelError as error:
            reason = str(error)
    if config.cpu_layers in ("compiled", "eager"):
        warnings.warn(
            f"cpu_layers={config.cpu_layers!r} cannot be had, transformers' layers compute: {reason}",
            stacklevel=2,
        )
    return f"transformers ({reason})"


def _not_meant_for(config: TrainConfig) -> str | None:
    checks = {
        "as set": config.cpu_layers == "transformers",
        "a GPU": torch.cuda.is_available(),
        "several processes": num_processes() > 1,
        "gradient checkpointing": config.gradient_checkpointing,
        "compile, which is for the model's own layers": config.compile,
        f"attention by {config.attn_implementation}": config.attn_implementation not in ("auto", "sdpa"),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def _prepare(model: Any, config: TrainConfig, tokens: int) -> str:
    dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
    kept_bytes = config.kept_states_mb << 20
    fast = FastBackbone(model, dtype=dtype, kept_bytes=kept_bytes)
    error = _difference(fast)
    if error is not None:
        raise UnsupportedModelError(f"{type(fast.decoder).__name__} computes otherwise than Llama: {error}")
    setattr(model, PLACE, fast)
    if config.cpu_layers == "eager":
        return "eager (as set)"
    if config.cpu_layers == "auto" and tokens * _trained_size(fast) < COMPILE_FROM:
        return "eager (too little training for a compilation to pay)"
    if cpp_compiler() is None:
        warnings.warn("no C++ compiler (g++, clang++ or $CXX): decoder layers run uncompiled", stacklevel=3)
        return "eager (no C++ compiler)"
    began = time.perf_counter()
    compiled = FastBackbone(model, dtype=dtype, kept_bytes=kept_bytes, compiled=True)
    try:
        error = _difference(compiled)
    except Exception as failure:  # whatever the compiler says; the uncompiled layers are right
        error = f"{type(failure).__name__}: {str(failure).strip().splitlines()[0] if str(failure).strip() else ''}"
    if error is not None:
        warnings.warn(f"compiled decoder layers are not used: {error}", stacklevel=3)
        return "eager (the compilation failed)"
    setattr(model, PLACE, compiled)
    return f"compiled (in {time.perf_counter() - began:.0f} s)"


def _trained_size(fast: FastBackbone) -> int:
    return sum(weight.numel() for layer in fast.decoder.layers[fast.first :] for weight in layer.parameters())


def _check_batch(vocabulary: int) -> dict[str, torch.Tensor]:
    """Return two rows of 20 tokens: a tree with a fork at 8 and 14, and one of 12 tokens before padding."""
    ids = torch.arange(40).view(2, 20) * 7919 % vocabulary
    positions = torch.stack([torch.arange(20), torch.arange(20).clamp(max=12)])
    positions[0, 14:] = torch.arange(8, 14)
    stops = torch.full((2, 20), 20)
    stops[0, 8:14] = 14
    return {"input_ids": ids, "position_ids": positions, "stops": stops, "used": torch.tensor([20, 12])}


def _difference(fast: FastBackbone) -> str | None:
    """Compare hidden states and gradients with those of the model's own forward; None if they agree."""
    decoder, dtype = fast.decoder, fast.dtype
    batch = _check_batch(decoder.embed_tokens.num_embeddings)
    real = torch.arange(20) < batch["used"][:, None]
    trained = [weight for weight in decoder.parameters() if weight.requires_grad]
    mask = tree_mask(batch["stops"], implementation=decoder.config._attn_implementation, dtype=dtype)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        own = decoder(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            attention_mask=mask,
            use_cache=False,
        ).last_hidden_state[real]
        ours = fast.hidden(batch)[real]
        error = ((ours - own).norm() / own.norm()).item()
        direction = torch.linspace(-1, 1, own.numel()).view_as(own).sin()
        our_gradient, own_gradient = (_flat(states, direction, trained) for states in (ours, own))
    least_cosine, most_error = TOLERANCE[dtype]
    if not error <= most_error:
        return f"hidden states differ by {error:.1e} of their norm, expected at most {most_error:.0e}"
    cosine = torch.cosine_similarity(our_gradient, own_gradient, dim=0).item() if trained else 1.0
    if not cosine >= least_cosine:
        return f"gradients have cosine {cosine:.5f}, expected at least {least_cosine}"
    return None


def _flat(states: torch.Tensor, direction: torch.Tensor, trained: list[torch.Tensor]) -> torch.Tensor:
    if not trained:
        return torch.zeros(1)
    found = torch.autograd.grad((states.float() * direction).sum(), trained, allow_unused=True)
    return torch.cat(
        [torch.zeros(1), *(gradient.float().flatten() for gradient in found if gradient is not None)]
    )
