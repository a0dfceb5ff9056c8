"""Say what of a model is trained: its last layers, adapters, or all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from eduprm.core.registry import load, names
from eduprm.prm.attention import loaded_implementation
from eduprm.prm.classifiers import classifier_class
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.loading import (
    HEADS,
    LABELS,
    load_classifier,
    load_language_model,
    read_model_config,
)

__all__ = ["add_lora", "decoder_layers", "freeze_below", "prepare_model", "trained_outputs"]


def decoder_layers(model: Any) -> tuple[str, nn.ModuleList]:
    """Return name and list of the backbone's decoder layers.

    Raises:
        ValueError: the backbone has no single longest list of layers to find.
    """
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    found = [(name, module) for name, module in lists if len(module) == depth]
    if len(found) != 1:
        raise ValueError(f"expected one list of {depth} decoder layers, got {[name for name, _ in found]}")
    return found[0]


def freeze_below(model: Any, last_layers: int) -> None:
    """Train only the last decoder layers, what follows them, and the head; no embeddings, of positions neither."""
    name, layers = decoder_layers(model)
    first = len(layers) - min(last_layers, len(layers))
    frozen = tuple(f"{name}.{index}." for index in range(first))
    embeddings = {
        id(module.weight)
        for key, module in model.named_modules()
        if isinstance(module, nn.Embedding) and not key.startswith(f"{name}.")
    }
    for key, parameter in model.named_parameters():
        if key.startswith(frozen) or id(parameter) in embeddings:
            parameter.requires_grad_(False)


def add_lora(
    model: Any, settings: LoraSettings, *, last_layers: int | None, cast_inputs: bool = False
) -> Any:
    """Wrap a classifier with peft adapters; its head stays trainable as a whole.

    `cast_inputs` is for a base of half precision outside autocast: what the adapters multiply is cast to their float32.
    """
    from peft import LoraConfig, TaskType, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers

    name, layers = decoder_layers(model)
    targets = settings.targets
    linear = {
        key.rsplit(".", 1)[-1]: type(module)
        for key, module in layers.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    if targets is None:
        targets = tuple(sorted(linear))
    head = next((key for key in HEADS if hasattr(model, key)), None)
    language_model = model.get_output_embeddings() is not None
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM if language_model else TaskType.TOKEN_CLS,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft's own code divides it by the rank
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        fan_in_fan_out=Conv1D in linear.values(),
        modules_to_save=None if head is None else [head],
        layers_to_transform=None if last_layers is None else list(range(len(layers)))[-last_layers:],
        layers_pattern=None if last_layers is None else name.rsplit(".", 1)[-1],
    )
    wrapped = get_peft_model(model, config)
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            # Autocast casts what the adapters multiply; peft would first copy every input to their float32.
            setattr(module, "cast_input_dtype_enabled", cast_inputs)  # noqa: B010  # nn.Module declares no such bool
    if not cast_inputs:
        # peft leaves the head in the base's dtype: in bfloat16 AdamW's small steps would be rounded away.
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return wrapped


def prepare_model(path_or_name: str | Path, config: TrainConfig, *, trust_remote_code: bool) -> Any:
    """Load what `config` trains: master weights in float32, a frozen base under adapters in the compute dtype.

    A classifier where the losses read a head alone; a language model where one reads that, with a head beside it where
    another reads one.

    Raises:
        ValueError: no such loss or scorer, a scorer that reads an output which no loss trains, losses of other heads,
            or a reference without LoRA.
    """
    needs, labels = trained_outputs(config)
    frozen_base = config.lora is not None and config.dtype == "bfloat16"
    options: dict[str, Any] = {
        "dtype": torch.bfloat16 if frozen_base else torch.float32,
        "attn_implementation": loaded_implementation(config.attn_implementation),
        "trust_remote_code": trust_remote_code,
    }
    if load("eduprm.prm.scorers", config.scoring.kind, "Scorer").needs == "head":
        # As what it will be saved, also where it is trained as a language model with a head.
        classifier_class(
            read_model_config(str(path_or_name), trust_remote_code=trust_remote_code), path_or_name
        )
    if needs == {"head"}:
        model = load_classifier(path_or_name, labels=labels, **options)
    else:
        model = load_language_model(path_or_name, head_labels=labels if "head" in needs else None, **options)
    if config.lora is not None:
        return add_lora(model, config.lora, last_layers=config.last_layers)
    if config.last_layers is not None:
        freeze_below(model, config.last_layers)
    return model


def trained_outputs(config: TrainConfig) -> tuple[set[str], tuple[str, ...]]:
    """Which outputs of the model the losses read, and what those of the head mean; no model is loaded.

    Raises:
        ValueError: no such loss or scorer, or they do not go together.
    """
    losses = {name: load("eduprm.prm.losses", name, "Loss") for name in config.losses}
    kind = config.scoring.kind
    scorer = load("eduprm.prm.scorers", kind, "Scorer")
    needs = {loss.needs for loss in losses.values()}
    if scorer.needs not in needs:
        raise ValueError(
            f"scoring by {kind!r} reads the {scorer.needs.replace('_', ' ')}, which no loss of "
            f"{', '.join(config.losses)} trains: expected a scorer of what they train, {_fitting(losses)!r} say"
        )
    read = {
        name: getattr(choice, "labels", LABELS)
        for name, choice in [*losses.items(), (f"scoring by {kind!r}", scorer)]
        if choice.needs == "head"
    }
    if len(set(read.values())) > 1:
        shown = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in read.items())
        raise ValueError(f"expected losses and scorer to agree on the outputs of the one head, got {shown}")
    compared = [
        name for name, choice in [*losses.items(), (kind, scorer)] if getattr(choice, "reference", False)
    ]
    if compared and config.lora is None:
        raise ValueError(
            f"{compared[0]} compares the model with what it was before training, which is the base of its adapters: "
            "expected lora, got none"
        )
    return needs, next(iter(read.values()), LABELS)


def _fitting(losses: dict[str, Any]) -> str:
    """A scorer that goes with the losses: the one called like a loss, else that of what they train."""
    own = [name for name in names("eduprm.prm.scorers") if name in losses]
    return (
        own[0] if own else "head" if any(loss.needs == "head" for loss in losses.values()) else "likelihood"
    )
