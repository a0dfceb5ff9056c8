"""Load a decoder with a token-classification head, add adapters, save the result as one plain folder.

For: the Hugging Face side of a PRM. Does not know: trees, batches, the training loop. Only safetensors are read and
written; code from a model's repository runs only if the user asks for it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eduprm.prm.attention import tree_mask
from eduprm.prm.config import InputFormat, LoraSettings, StepCut, TrainConfig
from eduprm.prm.fast import fast_hidden
from eduprm.prm.packing import PackedRows

__all__ = [
    "freeze_below",
    "load_classifier",
    "packed_logits",
    "quiet_transformers",
    "read_input_format",
    "save_prm",
    "to_tensors",
]

HEADS = ("score", "classifier")
LABELS = {0: "wrong", 1: "right"}
_RIGHT_NAMES = frozenset({"right", "correct", "true", "good", "positive", "yes", "+"})


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' warnings and bars out of the terminal while it loads or saves."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_classifier(
    path_or_name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    need_head: bool = False,
) -> Any:
    """Load any decoder that transformers can give a token-classification head with two labels.

    A head that the folder does not hold starts at zero, so that every step starts at P(right) = 0.5; with `need_head`
    it is an error instead.

    Raises:
        ValueError: no such model, no token-classification class for this architecture, `need_head` and no head, or a
            head whose labels are not two, wrong (0) and right (1).
    """
    from transformers import AutoConfig, AutoModelForTokenClassification

    path = str(path_or_name)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except OSError as error:
        if Path(path).is_dir():
            raise
        raise ValueError(
            f"expected a model's folder or hub name, got {path!r}: no such folder, and {str(error).splitlines()[0]}"
        ) from error
    if need_head:
        _check_labels(config, path)
    config.id2label, config.label2id = dict(LABELS), {name: index for index, name in LABELS.items()}
    if getattr(config, "classifier_dropout", None) is None:
        config.classifier_dropout = 0.0  # otherwise transformers takes 0.1 and the loss is random
    with quiet_transformers():
        model, info = AutoModelForTokenClassification.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    missing = {name for name in info["missing_keys"] if name.split(".")[0] in HEADS}
    strange = set(info["missing_keys"]) - missing
    if strange:
        raise ValueError(f"{path} lacks weights of its backbone: {sorted(strange)[:5]}")
    if missing and need_head:
        raise ValueError(
            f"expected a trained process reward model in {path}, got a model without {sorted(missing)}"
        )
    with torch.no_grad():
        for name in missing:
            model.get_parameter(name).zero_()
    return model


def _check_labels(config: Any, path: str) -> None:
    """Refuse a head with other than two labels, and one that calls label 0 right: its scores would be upside down."""
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if len(names) != 2:
        raise ValueError(
            f"expected a head with two labels in {path}, got {len(names)}: {sorted(names.values())[:5]}"
        )
    if names[0].strip().lower() in _RIGHT_NAMES:
        raise ValueError(f"expected label 0 to mean wrong and label 1 right in {path}, got {names}")


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
    """Train only the last decoder layers, what follows them, and the head."""
    name, layers = decoder_layers(model)
    first = len(layers) - min(last_layers, len(layers))
    frozen = tuple(f"{name}.{index}." for index in range(first))
    embeddings = model.get_input_embeddings()
    for key, parameter in model.named_parameters():
        if key.startswith(frozen) or parameter is embeddings.weight:
            parameter.requires_grad_(False)


def add_lora(model: Any, settings: LoraSettings, *, last_layers: int | None) -> Any:
    """Wrap a classifier with peft adapters; its head stays trainable as a whole."""
    from peft import LoraConfig, TaskType, get_peft_model

    name, layers = decoder_layers(model)
    targets = settings.targets
    if targets is None:
        linear = {
            key.rsplit(".", 1)[-1] for key, module in layers.named_modules() if isinstance(module, nn.Linear)
        }
        targets = tuple(sorted(linear))
    head = next(key for key in HEADS if hasattr(model, key))
    config = LoraConfig(
        task_type=TaskType.TOKEN_CLS,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft's own code divides it by the rank
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        modules_to_save=[head],
        layers_to_transform=None if last_layers is None else list(range(len(layers)))[-last_layers:],
        layers_pattern=None if last_layers is None else name.rsplit(".", 1)[-1],
    )
    return get_peft_model(model, config)


def prepare_model(path_or_name: str | Path, config: TrainConfig, *, trust_remote_code: bool) -> Any:
    """Load what `config` trains: master weights in float32, a frozen base under adapters in the compute dtype."""
    frozen_base = config.lora is not None and config.dtype == "bfloat16"
    model = load_classifier(
        path_or_name,
        dtype=torch.bfloat16 if frozen_base else torch.float32,
        attn_implementation=config.attn_implementation,
        trust_remote_code=trust_remote_code,
    )
    if config.lora is not None:
        model = add_lora(model, config.lora, last_layers=config.last_layers)
        for parameter in model.parameters():
            if parameter.requires_grad:  # small steps are lost in bfloat16, in which the head came
                parameter.data = parameter.data.float()
        return model
    if config.last_layers is not None:
        freeze_below(model, config.last_layers)
    return model


def to_tensors(packed: PackedRows) -> dict[str, torch.Tensor]:
    """Return the arrays of packed rows as tensors."""
    names = ("input_ids", "position_ids", "stops", "targets", "weights", "used")
    return {name: torch.from_numpy(getattr(packed, name)) for name in names}


def packed_logits(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return logits [B, L, 2] of packed rows (`input_ids`, `position_ids`, `stops`, each [B, L])."""
    hidden = fast_hidden(model, batch)
    if hidden is not None:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        return next(getattr(base, key) for key in HEADS if hasattr(base, key))(hidden.float())
    config = getattr(model, "module", model).config  # DistributedDataParallel hides it one level down
    mask = tree_mask(
        batch["stops"], implementation=config._attn_implementation, dtype=next(model.parameters()).dtype
    )
    output = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=mask, use_cache=False
    )
    return output.logits


def read_input_format(config: Any) -> InputFormat | None:
    """Return the `InputFormat` saved in a model's config, None if there is none."""
    entry = getattr(config, "eduprm", None)
    return None if entry is None else InputFormat.model_validate(entry["input_format"])


def save_prm(
    model: Any,
    tokenizer: Any,
    input_format: InputFormat,
    folder: Path,
    *,
    dtype: torch.dtype,
    notes: dict[str, Any],
    steps: StepCut | None = None,
) -> None:
    """Write model (adapters merged), tokenizer, format and cut to `folder`, which appears whole or not at all.

    A folder that stands there is replaced; killed between the two renames, it is left as `.NAME.old` beside it.
    """
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to(dtype)
    saved = {"version": 1, "input_format": input_format.model_dump(), **notes}
    if steps is not None:
        saved["steps"] = steps.model_dump()
    model.config.eduprm = saved
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with quiet_transformers():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    for file in partial.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)
