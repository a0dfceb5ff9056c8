r"""Any causal language model that judges a step by one of two tokens, named by the user.

Input: BOS where the tokenizer puts one, the prompt's text with the problem, then each step between a text before it and
the tag. Score: softmax over the logits of the two label tokens at the tag, P(good). The tag and both labels must be one
token each: an added token by its name, else what the tokenizer makes of the text. No chat template is used.

Source: the form of Math-Shepherd (arXiv 2312.08935, eduprm.prm.published.math_shepherd), which OpenR and others follow
with tags of their own.
"""

from __future__ import annotations

from typing import Any

import torch

from eduprm.forest.literal import token_runs
from eduprm.prm.published.marks import StepMarks
from eduprm.prm.published.text import PublishedBuilder, begins_with_bos, load_tokenizer, one_token
from eduprm.prm.published.weights import cut_head, load_checked

__all__ = ["Format", "LabelTokenBuilder"]


class LabelTokenBuilder(PublishedBuilder):
    """Ids of a prompt and of steps with a tag behind each; `good_id` and `bad_id` are the labels."""

    def __init__(self, tokenizer: Any, marks: StepMarks) -> None:
        if not marks.tag:
            raise ValueError("format label-tokens needs a tag, the token behind each step; got none")
        self.tag_id = one_token(tokenizer, marks.tag, name="tag")
        self.good_id = one_token(tokenizer, marks.good, name="good")
        self.bad_id = one_token(tokenizer, marks.bad, name="bad")
        super().__init__(tokenizer, reserved=[self.tag_id])
        self.marks = marks
        self._bos = [tokenizer.bos_token_id] if begins_with_bos(tokenizer) else []

    def prompt_ids(self, problem: str) -> list[int]:
        """Return the ids of the prompt's text."""
        first, *others = self.marks.prompt.split("{problem}")
        parts = [(first, True)]
        for other in others:
            parts += [(problem.strip(), False), (other, True)]
        return [*self._bos, *self.mixed_ids(parts, where="the problem")]

    def step_ids(self, index: int, text: str) -> list[int]:
        """Return the ids of what stands before the step, of the step, and the tag."""
        before, where = self.marks.between if index else self.marks.first, f"step {index}"
        if any(isinstance(run, int) for run in token_runs([(before, True)], self._added)):
            return [*self.mixed_ids([(before, True), (text, False)], where=where), self.tag_id]
        return [*self.later_ids(before + text, where=where), self.tag_id]


class Format:
    """This form (`eduprm.prm.published.formats._contract`)."""

    architectures = ()
    marks = ("tag", "good", "bad", "prompt", "first", "between")

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[Any, LabelTokenBuilder]:
        """Load model and builder of ids."""
        from transformers import AutoModelForCausalLM

        builder = LabelTokenBuilder(load_tokenizer(path), marks)
        model = load_checked(AutoModelForCausalLM, path, dtype=dtype, attn_implementation=attn_implementation)
        return cut_head(model, bad=builder.bad_id, good=builder.good_id), builder
