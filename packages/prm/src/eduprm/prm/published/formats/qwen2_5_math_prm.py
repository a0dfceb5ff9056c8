r"""Qwen2.5-Math-PRM-7B and -72B, and Qwen2.5-Math-7B-PRM800K: a two-layer head read at `<extra_0>` after each step.

Input: the tokenizer's chat of system, user (the problem) and assistant, `<extra_0>` behind every step and nothing else
between them. Score: P(second label, positive) at that `<extra_0>`, by softmax over the two outputs of
`score` = Linear, ReLU, Linear on the last hidden state. Weights: `model.*`, `score.0.*`, `score.2.*`; the published
files hold an unused `lm_head.weight` too. Steps are paragraphs in Qwen2.5-Math's own solutions.

Source: the model card of Qwen/Qwen2.5-Math-PRM-7B at 0610740 (input, score, example), its config.json at 98218b1, and
arXiv 2501.07301; the head's layers as in vLLM's and SGLang's `qwen2_rm`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from eduprm.prm.published.marks import StepMarks
from eduprm.prm.published.text import PublishedBuilder, load_tokenizer, one_token, template_parts
from eduprm.prm.published.weights import load_checked

__all__ = ["Format", "QwenMathBuilder", "QwenMathPrm"]

SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
TAG = "<extra_0>"


class QwenMathPrm(Qwen2PreTrainedModel):
    """Qwen2 with the published head; `logits` [B, L, 2]: negative, positive."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        width = config.hidden_size
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        self.post_init()

    def forward(self, input_ids: torch.Tensor, **inputs: Any) -> TokenClassifierOutput:
        """Run the backbone, then the head at every token."""
        hidden = self.model(input_ids=input_ids, **inputs).last_hidden_state
        return TokenClassifierOutput(logits=self.score(hidden))


class QwenMathBuilder(PublishedBuilder):
    """Ids of a chat whose answer has `<extra_0>` behind every step."""

    def __init__(self, tokenizer: Any) -> None:
        self.tag_id = one_token(tokenizer, TAG, name="tag")
        super().__init__(tokenizer, reserved=[self.tag_id])
        turns = [{"role": "system", "content": SYSTEM}, {"role": "user"}]
        self._around = template_parts(tokenizer, turns, add_generation_prompt=True)

    def prompt_ids(self, problem: str) -> list[int]:
        """Return the ids of system and user turn, up to where the answer begins."""
        before, after = self._around
        return self.mixed_ids([(before, True), (problem, False), (after, True)], where="the problem")

    def step_ids(self, index: int, text: str) -> list[int]:
        """Return the step's ids and the tag."""
        return [*self.later_ids(text, where=f"step {index}"), self.tag_id]


class Format:
    """This form (`eduprm.prm.published.formats._contract`)."""

    architectures = ("Qwen2ForProcessRewardModel",)
    marks = ()

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[QwenMathPrm, QwenMathBuilder]:
        """Load model and builder of ids."""
        builder = QwenMathBuilder(load_tokenizer(path))
        model = load_checked(
            QwenMathPrm,
            path,
            dtype=dtype,
            attn_implementation=attn_implementation,
            backbone="qwen2",
            unused=frozenset({"lm_head.weight"}),
        )
        return model, builder
