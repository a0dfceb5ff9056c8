r"""Skywork-o1-Open-PRM-Qwen-2.5-1.5B and -7B: a value head read at the newline behind each step.

Input: BOS, problem and a newline, tokenised together; then each step and the id of a newline, the steps tokenised one
by one. No chat. Score: sigmoid of `v_head.summary` (one output, with bias, in float32) on the last hidden state at that
newline. Weights: `model.*`, `v_head.summary.*` and an unused `lm_head.weight`. Steps are lines.

Source: SkyworkAI/skywork-o1-prm-inference, `model_utils` (as copied in openreasoner/openr at 627ea13 and 0b5704e,
reason/llm_service/utils/skywork_o1_prm_inference); config.json of the 1.5B at ff174cb. The published files are pickled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from eduprm.prm.published.marks import StepMarks
from eduprm.prm.published.text import PublishedBuilder, load_tokenizer
from eduprm.prm.published.weights import load_checked

__all__ = ["Format", "SkyworkBuilder", "SkyworkPrm"]


class _ValueHead(nn.Module):
    """The one layer of the published head; its dropout does nothing when scoring."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.summary = nn.Linear(width, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        weight, bias = self.summary.weight.float(), self.summary.bias.float()
        return nn.functional.linear(hidden.float(), weight, bias)


class SkyworkPrm(Qwen2PreTrainedModel):
    """Qwen2 with the published head; `logits` [B, L, 2]: 0 and the value, whose softmax is the value's sigmoid."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.v_head = _ValueHead(config.hidden_size)
        self.post_init()

    def forward(self, input_ids: torch.Tensor, **inputs: Any) -> TokenClassifierOutput:
        """Run the backbone, then the head at every token."""
        value = self.v_head(self.model(input_ids=input_ids, **inputs).last_hidden_state)
        logits: Any = torch.cat([torch.zeros_like(value), value], dim=-1)
        return TokenClassifierOutput(logits=logits)


class SkyworkBuilder(PublishedBuilder):
    """Ids of a problem and its steps, each closed by a newline."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        if tokenizer.bos_token_id is None:
            raise ValueError(
                "expected a tokenizer with a BOS token, got none; copy the published tokenizer's files"
            )
        self.newline_id = int(tokenizer.encode("\n", add_special_tokens=False)[-1])

    def prompt_ids(self, problem: str) -> list[int]:
        """Return BOS and the ids of the problem with its newline."""
        return [self.tokenizer.bos_token_id, *self.first_ids(f"{problem}\n", where="the problem")]

    def step_ids(self, index: int, text: str) -> list[int]:
        """Return the step's ids and the newline's."""
        return [*self.first_ids(text, where=f"step {index}"), self.newline_id]


class Format:
    """This form (`eduprm.prm.published.formats._contract`)."""

    architectures = ("Qwen2ForPrmModel",)
    marks = ()

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[SkyworkPrm, SkyworkBuilder]:
        """Load model and builder of ids."""
        builder = SkyworkBuilder(load_tokenizer(path))
        model = load_checked(
            SkyworkPrm,
            path,
            dtype=dtype,
            attn_implementation=attn_implementation,
            backbone="qwen2",
            unused=frozenset({"lm_head.weight"}),
        )
        return model, builder
