r"""Math-Shepherd (peiyi9979/math-shepherd-mistral-7b-prm): the tag "ки" behind each step, "+" against "-" at the tag.

Input: BOS, the problem, a space, and the steps, each ending in " ки", with a newline before the next one. Score:
softmax over the logits of "+" and "-" at the tag, P("+"); the ids are the tokenizer's for these words (12902, 648 and
387 in the published one). Weights: a plain MistralForCausalLM. The training data begin step n with "Step n: "; nothing
is added here, so write solutions that way to have them read as in training.

Source: the model card of peiyi9979/math-shepherd-mistral-7b-prm (its example, also in IANNXANG/Qwen at 0101565,
Math-s.py) and arXiv 2312.08935. The published files are pickled.
"""

from __future__ import annotations

from typing import Any

import torch

from eduprm.prm.published.formats import label_tokens
from eduprm.prm.published.marks import StepMarks

__all__ = ["MARKS", "Format"]

MARKS = StepMarks(tag="ки", good="+", bad="-", prompt="{problem}", first=" ", between="\n")


class Format:
    """This form (`eduprm.prm.published.formats._contract`)."""

    architectures = ()
    marks = ()

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[Any, label_tokens.LabelTokenBuilder]:
        """Load model and builder of ids."""
        return label_tokens.Format().load(
            path, dtype=dtype, attn_implementation=attn_implementation, marks=MARKS
        )
