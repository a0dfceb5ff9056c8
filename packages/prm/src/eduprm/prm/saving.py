"""Save a PRM as one plain folder: adapters merged, safetensors, the format, scoring and cut in its config."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from eduprm.core.registry import load
from eduprm.prm.classifiers import classifier_class
from eduprm.prm.config import InputFormat, Scoring, StepCut
from eduprm.prm.loading import HEADS, LABELS, quiet_transformers, set_labels

__all__ = ["save_prm"]


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
    scorer = load("eduprm.prm.scorers", scoring.kind, "Scorer")
    by_head = scorer.needs == "head"
    if hasattr(model, "merge_and_unload"):
        if not by_head:
            _save_adapter(model, partial / "adapter")
        model = model.merge_and_unload()
    model = (
        _as_classifier(model, getattr(scorer, "labels", LABELS)) if by_head else _without_head(model)
    ).to(dtype)
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


def _as_classifier(model: Any, labels: tuple[str, ...]) -> Any:
    """Return a token classifier with the weights of a language model that has a head beside it; others as they are."""
    if model.get_output_embeddings() is None:
        return model
    config = model.config
    set_labels(config, labels)
    with quiet_transformers():
        classifier = classifier_class(config, config.name_or_path).from_config(config)
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
