"""Entropies and log-probs of a text that already exists: a teacher-forced pass.

What `eduprm.segment` needs to cut someone else's solution at entropy anchors. One forward over the prefix and the
text; the vocabulary is worked off in chunks of positions, so memory does not grow with length times vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from eduprm.entropy import entropy_top2

_CHUNK_POSITIONS = 256


class TokenScores(NamedTuple):
    """Per token of the text, shape [n], float32: log-prob at temperature 1, and entropy in nats before it."""

    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]


@torch.inference_mode()
def score_tokens(model: PreTrainedModel, *, prefix_ids: list[int], token_ids: list[int]) -> TokenScores:
    """Measure every token of `token_ids` after `prefix_ids`.

    Args:
        model: a causal language model.
        prefix_ids: what stands before, at least one token.
        token_ids: the text, as tokens.

    Raises:
        ValueError: no prefix, or longer than the model's context.
    """
    total = len(prefix_ids) + len(token_ids)
    if not prefix_ids:
        raise ValueError("prefix_ids: expected at least one token, got none")
    if total > model.config.max_position_embeddings:
        raise ValueError(
            f"{len(prefix_ids)} prefix and {len(token_ids)} text tokens exceed the model's context of "
            f"{model.config.max_position_embeddings}"
        )
    if not token_ids:
        return TokenScores(np.empty(0, np.float32), np.empty(0, np.float32))
    inputs = torch.tensor([[*prefix_ids, *token_ids]], device=model.device)
    hidden = model.base_model(input_ids=inputs[:, :-1], use_cache=False).last_hidden_state[0]
    hidden = hidden[len(prefix_ids) - 1 :]
    head = model.get_output_embeddings()
    logprobs, entropies = [], []
    for start in range(0, len(token_ids), _CHUNK_POSITIONS):
        logits = head(hidden[start : start + _CHUNK_POSITIONS])
        top = entropy_top2(logits)
        normaliser = logits.gather(1, top.top_ids[:, :1]).float() - top.top_logprobs[:, :1]
        taken = inputs[0, len(prefix_ids) + start :][: len(logits), None]
        logprobs.append((logits.gather(1, taken).float() - normaliser).squeeze(1).clamp_max(0))
        entropies.append(top.entropy_nats.clamp_min(0))
    return TokenScores(torch.cat(logprobs).cpu().numpy(), torch.cat(entropies).cpu().numpy())
