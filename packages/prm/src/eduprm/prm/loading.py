"""Load a decoder as a classifier of tokens or as a language model, and read what a PRM's config says.

Only safetensors are read; code from a model's repository runs only if the user asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eduprm.prm.classifiers import classifier_class
from eduprm.prm.config import InputFormat, Scoring
from eduprm.prm.vocabulary import VocabularyLogits

__all__ = [
    "HEADS",
    "LABELS",
    "is_prm",
    "load_classifier",
    "load_language_model",
    "quiet_transformers",
    "read_input_format",
    "read_model_config",
    "read_scoring",
    "set_labels",
]

HEADS = ("score", "classifier")
LABELS = ("wrong", "right")
"""What the outputs of a head mean, unless its loss says otherwise (`eduprm.prm.losses._contract`)."""
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
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    head_labels: tuple[str, ...] | None = None,
) -> Any:
    """Load a decoder with its output embedding; `head_labels` give it a module `score`, an output for each, of zeros.

    Raises:
        ValueError: no such model, weights that it lacks, or logits that are not what the output embedding makes of the
            last hidden states (`VocabularyLogits`): their log-probs would be another model's.
    """
    from transformers import AutoModelForCausalLM

    path = str(path_or_name)
    config = read_model_config(path, trust_remote_code=trust_remote_code).get_text_config()
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
    _check_logits(model, path)
    if head_labels is not None:
        model.score = nn.Linear(config.hidden_size, len(head_labels), bias=False, dtype=dtype)
        nn.init.zeros_(model.score.weight)
    return model


@torch.no_grad()
def _check_logits(model: Any, path: str) -> None:
    """Refuse a model whose logits are not what `VocabularyLogits` makes of its hidden states."""
    if model.base_model is model:  # Llama 4 names its backbone otherwise than transformers looks for it
        raise ValueError(
            f"{path}: expected a language model around a backbone, got {type(model).__name__} alone"
        )
    ids = torch.tensor([[1, 2, 3]], device=model.get_input_embeddings().weight.device)
    was_training = model.training
    model.eval()
    whole = model(input_ids=ids, use_cache=False).logits
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    plain = VocabularyLogits.of(model)(hidden)
    model.train(was_training)
    if (whole - plain).abs().max() > 1e-3 * plain.abs().max():
        raise ValueError(
            f"{path} changes its logits behind the output embedding, which a PRM by likelihood does not; use a head"
        )


def load_classifier(
    path_or_name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    need_head: bool = False,
    labels: tuple[str, ...] = LABELS,
) -> Any:
    """Load a decoder with a token-classification head that has an output for each of `labels`.

    A head that the folder does not hold starts at zero, so that every step starts at P(right) = 0.5; with `need_head`
    it is an error instead.

    Raises:
        ValueError: no such model, one that can have no head (`classifier_class`), `need_head` and no head, or a
            head of other labels; where `labels` are wrong and right, any two of which 0 does not mean right.
    """
    path = str(path_or_name)
    config = read_model_config(path, trust_remote_code=trust_remote_code)
    kind = classifier_class(config, path)
    if need_head:
        _check_labels(config, path, labels)
    set_labels(config, labels)
    if getattr(config, "classifier_dropout", None) is None:
        config.classifier_dropout = 0.0  # otherwise transformers takes 0.1 and the loss is random
    with quiet_transformers():
        model, info = kind.from_pretrained(
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


def set_labels(config: Any, labels: tuple[str, ...]) -> None:
    """Say in a model's config what the outputs of its head mean."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}


def _check_labels(config: Any, path: str, labels: tuple[str, ...]) -> None:
    """Refuse a head of other outputs, and one that calls label 0 right: its scores would be upside down."""
    names = {int(index): str(name) for index, name in config.id2label.items()}
    if labels != LABELS:
        if tuple(names[index] for index in sorted(names)) != labels:
            raise ValueError(
                f"expected a head with the labels {', '.join(labels)} in {path}, got {sorted(names.values())[:5]}"
            )
        return
    if len(names) != 2:
        raise ValueError(
            f"expected a head with two labels in {path}, got {len(names)}: {sorted(names.values())[:5]}; a head of "
            "other outputs wants a format of your own, package.module:Format (docs/extend.md)"
        )
    if names[0].strip().lower() in _RIGHT_NAMES:
        raise ValueError(f"expected label 0 to mean wrong and label 1 right in {path}, got {names}")


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
