"""What a published form is: the class `Format` of a module in this folder, or `package.module:Format` of anyone's."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import torch

from eduprm.prm.published.marks import StepMarks

__all__ = ["PublishedFormat"]


class PublishedFormat(Protocol):
    """How the checkpoints of a form are read.

    Attributes:
        architectures: endings of the class names in a checkpoint's config (`architectures`) that tell this form from
            others; none for causal language models, whose config does not say how they judge.
        marks: fields of `StepMarks` that the form leaves to the user.
    """

    architectures: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[Any, Any]:
        """Load the model (`logits` [B, L, 2], wrong and right) and the builder of ids (`eduprm.prm.published.text`).

        Raises:
            ValueError: weights or a tokenizer that do not fit the form, in one line.
        """
        ...
