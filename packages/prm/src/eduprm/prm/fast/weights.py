"""Find the weights of a Llama-like backbone, its adapters included, in a transformers model, wrapped by peft or not.

For families whose layers are named and built as Llama's (Llama, Mistral, Qwen2, Qwen3, SmolLM2 and others). Whether
they also compute the same is not decided here: the output is compared with the model's own before it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from eduprm.prm.fast.layer import Layer, Linear, Shape

__all__ = [
    "UnsupportedModelError",
    "activation_of",
    "decoder_of",
    "first_trained_layer",
    "layer_weights",
    "shape_of",
]

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
NORMS = ("input_layernorm", "post_attention_layernorm")


class UnsupportedModelError(ValueError):
    """A model that these layers cannot compute; says why."""


def decoder_of(model: Any) -> Any:
    """Return the stack of decoder layers with its embedding, final norm and rotary embedding.

    Raises:
        UnsupportedModelError: parts that a Llama-like backbone has are missing, or there are others.
    """
    whole = getattr(model, "module", model)
    whole = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
    decoder: Any = getattr(whole, getattr(whole, "base_model_prefix", ""), None)
    parts = ("embed_tokens", "layers", "norm", "rotary_emb")
    missing = [name for name in parts if not hasattr(decoder, name)]
    if missing:
        raise UnsupportedModelError(f"{type(whole).__name__} has no {', '.join(missing)}")
    for index, layer in enumerate(decoder.layers):
        _check_layer(index, layer)
    return decoder


def _check_layer(index: int, layer: Any) -> None:
    name = f"layer {index} ({type(layer).__name__})"
    children = {key for key, _ in layer.named_children()}
    if children != {"self_attn", "mlp", *NORMS}:
        raise UnsupportedModelError(f"{name} is made of {', '.join(sorted(children))}")
    own = {key for key, _ in layer.self_attn.named_children()}
    if own not in (set(ATTENTION), {*ATTENTION, "q_norm", "k_norm"}):
        raise UnsupportedModelError(f"the attention of {name} is made of {', '.join(sorted(own))}")
    own = {key for key, _ in layer.mlp.named_children()}
    if own != {*MLP, "act_fn"}:
        raise UnsupportedModelError(f"the MLP of {name} is made of {', '.join(sorted(own))}")
    if getattr(layer.self_attn, "attention_dropout", 0.0):
        raise UnsupportedModelError(f"{name} has dropout on its attention")
    for module in (
        *(getattr(layer.self_attn, key) for key in ATTENTION),
        *(getattr(layer.mlp, key) for key in MLP),
    ):
        _linear_parts(module)


def _linear_parts(module: Any) -> tuple[nn.Linear, nn.Linear | None, nn.Linear | None, float]:
    """Return the linear map, its adapter's A and B (None without one) and the adapter's scale."""
    if type(module) is nn.Linear:
        return module, None, None, 0.0
    base, active = getattr(module, "base_layer", None), list(getattr(module, "active_adapters", ()))
    if type(base) is not nn.Linear or len(active) != 1 or not hasattr(module, "lora_A"):
        raise UnsupportedModelError(
            f"{type(module).__name__} is neither a linear layer nor one with one LoRA adapter"
        )
    name = active[0]
    if getattr(module, "merged", False) or getattr(module, "disable_adapters", False):
        raise UnsupportedModelError("adapters are merged or switched off")
    if not isinstance(module.lora_dropout[name], nn.Identity) or name in (module.lora_magnitude_vector or ()):
        raise UnsupportedModelError("adapters have dropout, or are another kind than plain LoRA (DoRA)")
    if module.lora_B[name].bias is not None:
        raise UnsupportedModelError("adapters have a bias")
    return base, module.lora_A[name], module.lora_B[name], float(module.scaling[name])


def shape_of(decoder: Any) -> Shape:
    """Return heads, key heads and the like; the same in every layer."""
    attention, norm = decoder.layers[0].self_attn, decoder.layers[0].input_layernorm
    width = int(attention.head_dim)
    query, key, *_ = (_linear_parts(getattr(attention, name))[0].out_features for name in ATTENTION)
    epsilon = getattr(norm, "variance_epsilon", None)
    if epsilon is None or query % width or key % width or (query // width) % (key // width):
        raise UnsupportedModelError(f"{type(attention).__name__} has heads that cannot be folded")
    return Shape(query // width, key // width, width, float(attention.scaling), float(epsilon))


def activation_of(decoder: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the MLP's activation, as torch's own function where it is the usual one (SiLU)."""
    own = decoder.layers[0].mlp.act_fn
    if isinstance(own, nn.SiLU) or type(own).__name__ in ("SiLU", "SiLUActivation"):
        return nn.functional.silu
    result: Callable[[torch.Tensor], torch.Tensor] = own
    return result


def first_trained_layer(decoder: Any) -> int:
    """Return the index of the lowest layer with something to train; 0 too if the embedding is trained."""
    if any(parameter.requires_grad for parameter in decoder.embed_tokens.parameters()):
        return 0
    for index, layer in enumerate(decoder.layers):
        if any(parameter.requires_grad for parameter in layer.parameters()):
            return index
    return len(decoder.layers)


def _cast(parameter: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    if parameter is None:
        return None
    return (parameter if parameter.requires_grad else parameter.detach()).to(dtype)


def _linear(module: Any, dtype: torch.dtype) -> Linear:
    base, a, b, scale = _linear_parts(module)
    weight, bias = _cast(base.weight, dtype), _cast(base.bias, dtype)
    assert weight is not None
    if a is None or b is None:
        return Linear(weight, bias)
    return Linear(weight, bias, _cast(a.weight, dtype), (b.weight * scale).to(dtype))


def layer_weights(layer: Any, dtype: torch.dtype) -> Layer:
    """Return a layer's weights in the compute dtype; gradients go back to the parameters, whatever their dtype."""
    attention, norms = layer.self_attn, [getattr(layer, name).weight for name in NORMS]
    heads = [getattr(getattr(attention, name, None), "weight", None) for name in ("q_norm", "k_norm")]
    cast: Iterator[Any] = (_cast(weight, dtype) for weight in (*norms, *heads))
    linear = [_linear(getattr(attention, name), dtype) for name in ATTENTION]
    linear += [_linear(getattr(layer.mlp, name), dtype) for name in MLP]
    return Layer(*cast, *linear)
