r"""RLHFlow's PRMs (Llama3.1-8B-PRM-Deepseek-Data, -Mistral-Data): each step is a user's turn, answered "+" or "-".

Input: the tokenizer's chat; the first user's turn is problem, space, first step, each further one a step, and every
assistant's turn before the one that is asked for is "+". Score: softmax over the logits of "+" and "-" at the last
token before the assistant's word, P("+"). Weights: a plain LlamaForCausalLM.

All steps stand in one pass: what follows an answer cannot change it, so the chat that ends at step n gives the same
number as the longer one. A step's ids therefore run from behind its predecessor's score, "+" included, to its own.

Source: RLHFlow/RLHF-Reward-Modeling at 5b2a281, math-rm/prm_evaluate.py (turn by turn, third token from the end);
huggingface/search-and-learn at 555a413, src/sal/models/reward_models.py (one pass). ProcessBench's script puts two
newlines, not a space, between problem and first step.
"""

from __future__ import annotations

from typing import Any

import torch

from eduprm.prm.published.marks import StepMarks
from eduprm.prm.published.text import PublishedBuilder, load_tokenizer, one_token, template_parts
from eduprm.prm.published.weights import cut_head, load_checked

__all__ = ["Format", "RlhflowBuilder"]


class RlhflowBuilder(PublishedBuilder):
    """Ids of a chat of steps and "+"; `good_id` and `bad_id` are the labels."""

    def __init__(self, tokenizer: Any) -> None:
        self.good_id = one_token(tokenizer, "+", name="good")
        self.bad_id = one_token(tokenizer, "-", name="bad")
        super().__init__(tokenizer)
        turns = [{"role": "user"}, {"role": "assistant"}] * 2
        self._begin, self._answer, self._next, again, _ = template_parts(tokenizer, turns)
        if again != self._answer:
            raise ValueError("expected a chat template that writes all turns alike, got another one")

    def prompt_ids(self, problem: str) -> list[int]:
        """Return the ids of the chat up to the end of the problem."""
        return self.mixed_ids([(self._begin, True), (problem.strip(), False)], where="the problem")

    def step_ids(self, index: int, text: str) -> list[int]:
        """Return the ids from behind the score before to where the assistant's word is asked for."""
        where = f"step {index}"
        if index == 0:
            return self.mixed_ids([(f" {text}", False), (self._answer, True)], where=where)
        parts = [(self._next, True), (text, False), (self._answer, True)]
        return [self.good_id, *self.mixed_ids(parts, where=where)]


class Format:
    """This form (`eduprm.prm.published.formats._contract`)."""

    architectures = ()
    marks = ()

    def load(
        self, path: str, *, dtype: torch.dtype, attn_implementation: str | None, marks: StepMarks
    ) -> tuple[Any, RlhflowBuilder]:
        """Load model and builder of ids."""
        from transformers import AutoModelForCausalLM

        builder = RlhflowBuilder(load_tokenizer(path))
        model = load_checked(AutoModelForCausalLM, path, dtype=dtype, attn_implementation=attn_implementation)
        return cut_head(model, bad=builder.bad_id, good=builder.good_id), builder
