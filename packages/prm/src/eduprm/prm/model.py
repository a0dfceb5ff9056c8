"""Load a decoder as a classifier of tokens or as a language model, add adapters, save the result as one plain folder.

For the Hugging Face side of a PRM. Only safetensors are read and
written; code from a model's repository runs only if the user asks for it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eduprm.core.registry import load
from eduprm.prm.attention import attention_inputs, implementation_of
from eduprm.prm.config import InputFormat, LoraSettings, Scoring, StepCut, TrainConfig
from eduprm.prm.fast import fast_hidden
from eduprm.prm.packing import PackedRows

__all__ = [
    "freeze_below",
    "head_output",
    "language_model_output",
    "load_classifier",
    "load_language_model",
    "packed_hidden",
    "packed_logits",
    "quiet_transformers",
    "read_input_format",
    "read_scoring",
    "save_prm",
    "to_tensors",
    "unwrap",
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


def read_model_config(path: str, *, trust_remote_code: bool) -> Any:
    """Return a model's config.

    Raises:
        ValueError: no such folder or hub name.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    except OSError as error:
        if Path(path).is_dir():
            raise
        raise ValueError(
            f"expected a model's folder or hub name, got {path!r}: no such folder, and {str(error).splitlines()[0]}"
        ) from error


def load_language_model(
    path_or_name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str = "sdpa",
    trust_remote_code: bool = False,
    add_head: bool = False,
) -> Any:
    """Load a decoder with its output embedding; `add_head` gives it a module `score` of two labels that starts at zero.

    Raises:
        ValueError: no such model, weights that it lacks, or logits that are scaled or capped behind the output
            embedding (Gemma 2, Cohere, Granite): their log-probs would be another model's.
    """
    from transformers import AutoModelForCausalLM

    path = str(path_or_name)
    config = read_model_config(path, trust_remote_code=trust_remote_code).get_text_config()
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise ValueError(
                f"{path} changes its logits by {name}, which a PRM by likelihood does not; use a head for this backbone"
            )
    with quiet_transformers():
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    model, info = loaded
    if info["missing_keys"]:
        raise ValueError(f"{path} is no language model: it lacks {sorted(info['missing_keys'])[:5]}")
    if add_head:
        model.score = nn.Linear(config.hidden_size, len(LABELS), bias=False, dtype=dtype)
        nn.init.zeros_(model.score.weight)
    return model


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
    from transformers import AutoModelForTokenClassification

    path = str(path_or_name)
    config = read_model_config(path, trust_remote_code=trust_remote_code)
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
    from peft.tuners.tuners_utils import BaseTunerLayer

    name, layers = decoder_layers(model)
    targets = settings.targets
    if targets is None:
        linear = {
            key.rsplit(".", 1)[-1] for key, module in layers.named_modules() if isinstance(module, nn.Linear)
        }
        targets = tuple(sorted(linear))
    head = next((key for key in HEADS if hasattr(model, key)), None)
    language_model = model.get_output_embeddings() is not None
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM if language_model else TaskType.TOKEN_CLS,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft's own code divides it by the rank
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        modules_to_save=None if head is None else [head],
        layers_to_transform=None if last_layers is None else list(range(len(layers)))[-last_layers:],
        layers_pattern=None if last_layers is None else name.rsplit(".", 1)[-1],
    )
    wrapped = get_peft_model(model, config)
    for module in wrapped.modules():
        if isinstance(module, BaseTunerLayer):
            # Autocast casts what the adapters multiply; peft would first copy every input to their float32.
            setattr(module, "cast_input_dtype_enabled", False)  # noqa: B010  # nn.Module declares no such bool
    return wrapped


def unwrap(model: Any) -> Any:
    """Return the model itself, with its adapters, without the wrappers of peft and DistributedDataParallel."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def prepare_model(path_or_name: str | Path, config: TrainConfig, *, trust_remote_code: bool) -> Any:
    """Load what `config` trains: master weights in float32, a frozen base under adapters in the compute dtype.

    A classifier where the losses read a head alone; a language model where one reads that, with a head beside it where
    another reads one.

    Raises:
        ValueError: no such loss or scorer, or a scorer that reads an output which no loss trains.
    """
    needs = {load("eduprm.prm.losses", name, "Loss").needs for name in config.losses}
    wanted = load("eduprm.prm.scorers", config.scoring.kind, "Scorer").needs
    if wanted not in needs:
        raise ValueError(
            f"scoring by {config.scoring.kind!r} reads the {wanted.replace('_', ' ')}, which no loss of "
            f"{', '.join(config.losses)} trains"
        )
    frozen_base = config.lora is not None and config.dtype == "bfloat16"
    options: dict[str, Any] = {
        "dtype": torch.bfloat16 if frozen_base else torch.float32,
        "attn_implementation": implementation_of(
            config.attn_implementation,
            device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            dtype=getattr(torch, config.dtype),
        ),
        "trust_remote_code": trust_remote_code,
    }
    if needs == {"head"}:
        model = load_classifier(path_or_name, **options)
    else:
        model = load_language_model(path_or_name, add_head="head" in needs, **options)
    if config.lora is not None:
        return add_lora(model, config.lora, last_layers=config.last_layers)
    if config.last_layers is not None:
        freeze_below(model, config.last_layers)
    return model


def to_tensors(packed: PackedRows) -> dict[str, torch.Tensor]:
    """Return the arrays of packed rows as tensors, named as in `eduprm.prm.losses._contract.Batch`."""
    names = ("input_ids", "position_ids", "stops", "parents", "values", "used")
    arrays = {name: getattr(packed, name) for name in names}
    arrays |= {f"node_{name}": part for name, part in packed.nodes._asdict().items()}
    arrays |= {f"fork_{name}": part for name, part in packed.forks._asdict().items()}
    return {name: torch.from_numpy(part) for name, part in arrays.items()}


def language_model_output(model: Any) -> nn.Module:
    """Return the output embedding, hidden states to logits over the vocabulary."""
    output: nn.Module = unwrap(model).get_output_embeddings()
    return output


def head_output(model: Any) -> nn.Module:
    """Return the head, hidden states to the logits wrong and right."""
    inner = unwrap(model)
    head: nn.Module = getattr(inner, next(name for name in HEADS if hasattr(inner, name)))
    return head


def _outputs(model: Any, batch: Mapping[str, Any], **options: Any) -> Any:
    implementation = unwrap(model).config._attn_implementation
    dtype = next(model.parameters()).dtype
    return model(
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
    logits: torch.Tensor = _outputs(model, batch).logits
    return logits


def packed_hidden(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return the final hidden states [B, L, D], behind the last norm, of packed rows.

    By our own layers where `prepare_fast` put them. Otherwise by the whole model's forward, which
    DistributedDataParallel and FSDP hook into; a language model computes the logits of one position on the way.
    """
    hidden = fast_hidden(model, batch)
    if hidden is not None:
        return hidden
    options: dict[str, Any] = {"output_hidden_states": True}
    if unwrap(model).get_output_embeddings() is not None:
        options["logits_to_keep"] = 1
    states: torch.Tensor = _outputs(model, batch, **options).hidden_states[-1]
    return states


def read_input_format(config: Any) -> InputFormat | None:
    """Return the `InputFormat` saved in a model's config, None if there is none."""
    entry = getattr(config, "eduprm", None)
    return None if entry is None else InputFormat.model_validate(entry["input_format"])


def is_prm(path_or_name: str | Path, *, trust_remote_code: bool = False) -> bool:
    """Return whether a model says in its config that eduprm saved it as a PRM.

    Raises:
        ValueError: no such folder or hub name.
    """
    config = read_model_config(str(path_or_name), trust_remote_code=trust_remote_code)
    return getattr(config, "eduprm", None) is not None


def read_scoring(config: Any) -> Scoring:
    """Return the `Scoring` saved in a model's config; a head where there is none."""
    return Scoring.model_validate((getattr(config, "eduprm", None) or {}).get("scoring", {}))


def save_prm(
    model: Any,
    tokenizer: Any,
    input_format: InputFormat,
    folder: Path,
    *,
    dtype: torch.dtype,
    notes: dict[str, Any],
    steps: StepCut | None = None,
    scoring: Scoring | None = None,
) -> None:
    """Write model (adapters merged), tokenizer, format, scoring and cut to `folder`, which appears whole or not at all.

    Adapters of a language model stand in `adapter/` too, as peft saves them, for servers that load them beside the
    policy. A language model with a head beside it is saved as the kind that `scoring` reads. A folder that stands there
    is replaced; killed between the two renames, it is left as `.NAME.old` beside it.
    """
    scoring = Scoring() if scoring is None else scoring
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    by_head = load("eduprm.prm.scorers", scoring.kind, "Scorer").needs == "head"
    if hasattr(model, "merge_and_unload"):
        if not by_head:
            _save_adapter(model, partial / "adapter")
        model = model.merge_and_unload()
    model = (_as_classifier(model) if by_head else _without_head(model)).to(dtype)
    saved = {
        "version": 2,
        "input_format": input_format.model_dump(),
        "scoring": scoring.model_dump(),
        **notes,
    }
    if steps is not None:
        saved["steps"] = steps.model_dump()
    model.config.eduprm = saved
    with quiet_transformers():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    for file in partial.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def _as_classifier(model: Any) -> Any:
    """Return a token classifier with the weights of a language model that has a head beside it; others as they are."""
    if model.get_output_embeddings() is None:
        return model
    from transformers import AutoModelForTokenClassification

    config = model.config
    config.id2label, config.label2id = dict(LABELS), {name: index for index, name in LABELS.items()}
    with quiet_transformers():
        classifier = AutoModelForTokenClassification.from_config(config)
    prefix = classifier.base_model_prefix
    getattr(classifier, prefix).load_state_dict(getattr(model, prefix).state_dict())
    head = next(name for name in HEADS if hasattr(classifier, name))
    weights = getattr(classifier, head)
    with torch.no_grad():
        weights.weight.copy_(model.score.weight)
        if weights.bias is not None:
            weights.bias.zero_()
    return classifier


def _without_head(model: Any) -> Any:
    if hasattr(model, "score") and model.get_output_embeddings() is not None:
        del model.score
    return model


def _save_adapter(model: Any, folder: Path) -> None:
    """Write peft's adapter in half precision; its base by name if it has one, since a path would be this machine's."""
    from safetensors.torch import load_file, save_file

    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    file, settings = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    weights = {key: value.half() for key, value in load_file(file).items() if ".score." not in key}
    save_file(weights, file, metadata={"format": "pt"})
    config = json.loads(settings.read_text())
    base = config["base_model_name_or_path"]
    config["base_model_name_or_path"] = None if base and Path(base).exists() else base
    config["modules_to_save"] = None
    config["target_modules"] = sorted(config["target_modules"])  # a set, in any order
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
