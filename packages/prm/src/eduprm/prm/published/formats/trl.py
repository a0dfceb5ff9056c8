r"""PRMs of TRL's PRMTrainer: a token-classification head of two labels, read behind the separator of each step.

Input: BOS if the tokenizer has one, the problem, then each step and the separator (a newline unless the training said
otherwise), all tokenised one by one; nothing stands between problem and first step. Score: P(label 1) at the
separator's last token. Weights: any `...ForTokenClassification` of transformers with two labels, wrong (0), right (1).

Source: `PRMTrainer.tokenize_row` of huggingface/trl (trl/experimental/prm/prm_trainer.py at 42a973a; before 0.25 in
trl/trainer). ProcessBench's script for such PRMs puts a newline behind the problem, which the trainer does not.
"""

from __future__ import annotations

from typing import Any

import torch

from eduprm.prm.loading import load_classifier
from eduprm.prm.published.marks import StepMarks
from eduprm.prm.published.text import PublishedBuilder, load_tokenizer
from eduprm.prm.published.weights import check_safetensors

__all__ = ["Format", "TrlBuilder"]


class TrlBuilder(PublishedBuilder):
    """Ids of a problem and its steps, each closed by the separator."""

    def __init__(self, tokenizer: Any, separator: str) -> None:
        super().__init__(tokenizer)
        self.separator_ids = list(tokenizer.encode(separator, add_special_tokens=False))
        if not self.separator_ids:
            raise ValueError("format trl needs a separator, got an empty one")
        self._bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    def prompt_ids(self, problem: str) -> list[int]:
        """Return BOS and the ids of the problem."""
        return [*self._bos, *self.first_ids(problem, where="the problem")]

    def step_ids(self, index: int, text: str) -> list[int]:
        """Return the step's ids and the separator's."""
        return [*self.first_ids(text, where=f"step {index}"), *self.separator_ids]


class Format:
    """This form (`eduprm.prm.published.formats._contract`)."""

    architectures = ("ForTokenClassification",)
    marks = ("separator",)

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[Any, TrlBuilder]:
        """Load model and builder of ids."""
        check_safetensors(path)
        builder = TrlBuilder(load_tokenizer(path), marks.separator)
        model = load_classifier(path, dtype=dtype, attn_implementation=attn_implementation, need_head=True)
        return model, builder
