"""Load published weights into native classes, complete and from safetensors, or not at all.

For all adapters. transformers fills missing weights with random numbers and only
warns; a PRM with a random head gives scores that look like scores, so here every missing or unknown weight is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from eduprm.prm.loading import quiet_transformers

__all__ = ["cut_head", "load_checked", "read_config"]

_OLD_BUFFER = "rotary_emb.inv_freq"  # computed from the config nowadays; checkpoints of 2023 hold it


def read_config(path: str) -> dict[str, Any]:
    """Return a checkpoint's config.json, of a folder or of a hub name.

    Raises:
        ValueError: there is none.
    """
    from transformers import PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(path)
    except OSError as error:
        first = str(error).splitlines()[0]
        raise ValueError(f"expected a model's folder or hub name, got {path!r}: {first}") from error
    if not config:
        raise ValueError(f"expected a config.json in {path}, got none")
    return config


def check_safetensors(path: str) -> None:
    """Refuse a folder without safetensors; a hub name is left to the loader, which takes nothing else.

    Raises:
        ValueError: says how to convert, if there are pickled weights.
    """
    folder = Path(path)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    if pickled:
        raise ValueError(
            f"{path} holds pickled weights ({pickled[0]}), which can run code when read; convert them with "
            f"`python -m eduprm.prm.published.convert {path} NEW_FOLDER`"
        )
    raise ValueError(f"expected weights (*.safetensors) in {path}, got none")


def load_checked(
    kind: Any,
    path: str,
    *,
    dtype: torch.dtype,
    attn_implementation: str | None,
    backbone: str | None = None,
    unused: frozenset[str] = frozenset(),
) -> Any:
    """Load a checkpoint into `kind` (a class with `from_pretrained`).

    `backbone` is the model type that its config must have. `unused` are weights that published checkpoints hold and
    their scores do not depend on.

    Raises:
        ValueError: another backbone, pickled weights, or weights that are missing, unknown or of another shape.
    """
    from transformers import AutoConfig

    check_safetensors(path)
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    if backbone is not None and config.model_type != backbone:
        raise ValueError(f"expected a {backbone} backbone in {path}, got {config.model_type}")
    with quiet_transformers():
        try:
            model, info = kind.from_pretrained(
                path,
                config=config,
                dtype=dtype,
                attn_implementation=attn_implementation,
                use_safetensors=True,
                output_loading_info=True,
            )
        except RuntimeError as error:
            if "mismatch" not in str(error):
                raise
            raise ValueError(f"weights in {path} have other shapes than its config says: {error}") from error
    missing = sorted(info["missing_keys"])
    unknown = sorted(
        key for key in info["unexpected_keys"] if key not in unused and not key.endswith(_OLD_BUFFER)
    )
    if missing or unknown:
        raise ValueError(
            f"{path} is no checkpoint of this format: missing weights {missing[:5]}, unknown weights {unknown[:5]}"
        )
    return model


def cut_head(model: Any, *, bad: int, good: int) -> Any:
    """Keep two rows of a causal model's output layer, so that its logits are [B, L, 2]: wrong, right.

    The model's own forward pass goes on as before, with whatever it does to logits (soft caps, scales), and never makes
    the [B, L, vocabulary] that takes gigabytes.
    """
    full = model.get_output_embeddings()
    rows = torch.tensor([bad, good], device=full.weight.device)
    small = nn.Linear(
        full.in_features, 2, bias=full.bias is not None, device=full.weight.device, dtype=full.weight.dtype
    )
    with torch.no_grad():
        small.weight.copy_(full.weight[rows])
        if full.bias is not None:
            small.bias.copy_(full.bias[rows])
    model.set_output_embeddings(small)
    return model
