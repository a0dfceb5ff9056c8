"""Load any PRM that eduprm can score with: its own, and the published forms."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from eduprm.policy import resolve_model
from eduprm.prm.attention import loaded_implementation, settle_attention
from eduprm.prm.published.choosing import choose_format, find_format
from eduprm.prm.published.marks import StepMarks
from eduprm.prm.published.weights import read_config
from eduprm.prm.score import ProcessRewardModel

__all__ = ["load_step_scorer"]


def load_step_scorer(
    path_or_name: str | Path,
    *,
    format: str | None = None,
    marks: StepMarks | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    attn_implementation: str = "auto",
    batch_tokens: int = 8192,
    weights: Literal["full", "int8"] = "full",
) -> ProcessRewardModel:
    """Load a PRM's folder, hub name or name that ships (safetensors, no remote code) in the form it was published in.

    Args:
        path_or_name: the checkpoint.
        format: one of `FORMATS` or package.module:Format; None: told from the checkpoint's config.
        marks: what formats trl and label-tokens leave open.
        device: None: CUDA if there is one.
        dtype: None: bfloat16 on CUDA, float32 elsewhere and for ours that is scored against its reference.
        attn_implementation: as in `TrainConfig`.
        batch_tokens: most padded tokens per forward pass.
        weights: int8: those of the decoder layers rounded (`eduprm.prm.int8`).

    Returns:
        A model whose `score`, `score_many` and `score_ids` give one number in [0, 1] per step.

    Raises:
        ValueError: no such model or format, a format that cannot be told, weights that do not fit it, or marks that
            it does not use.

    Examples:
        >>> import tempfile
        >>> from eduprm.prm.testing import tiny_prm
        >>> prm = load_step_scorer(tiny_prm(tempfile.mkdtemp() + "/prm"))
        >>> len(prm.score("2 * 3 * 4?", ["2 * 3 = 6", "6 * 4 = 24"]))
        2
    """
    path = resolve_model(str(path_or_name))
    name = choose_format(read_config(path), path=path) if format is None else format
    marks = StepMarks() if marks is None else marks
    published = None if name == "eduprm" else find_format(name)
    marks.check_used(name, () if published is None else published.marks)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if published is None:
        prm = ProcessRewardModel.from_pretrained(
            path, device, dtype, attn_implementation=attn_implementation, batch_tokens=batch_tokens
        )
    else:
        if dtype is None:
            dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        precision: torch.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        model, builder = published.load(
            path, dtype=precision, attn_implementation=loaded_implementation(attn_implementation), marks=marks
        )
        settle_attention(model.to(device), attn_implementation, dtype=precision)
        prm = ProcessRewardModel(model, builder, batch_tokens=batch_tokens)
    if weights == "int8":
        from eduprm.prm.int8 import to_int8

        to_int8(prm.model)
    return prm
