"""Entropies and log-probs of a text that already exists: a teacher-forced pass.

What `eduprm.segment` needs to cut someone else's solution at entropy anchors. The text goes through the model's own
forward in chunks of positions, behind the keys and values of what came before: the logits are the model's own, scaled
or capped where it does that, and memory does not grow with length times vocabulary.
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
        model: a causal language model; its layers may slide.
        prefix_ids: what stands before, at least one token.
        token_ids: the text, as tokens.

    Raises:
        ValueError: no prefix, longer than the model's context, or logits that are no numbers.
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
    ids = torch.tensor([[*prefix_ids, *token_ids]], device=model.device)
    cache = None
    if len(prefix_ids) > 1:
        # Nobody asks what follows inside the prefix: no head, no logits.
        cache = model.base_model(input_ids=ids[:, : len(prefix_ids) - 1], use_cache=True).past_key_values
    logprobs, entropies = [], []
    for start in range(len(prefix_ids) - 1, total - 1, _CHUNK_POSITIONS):
        stop = min(start + _CHUNK_POSITIONS, total - 1)
        # The model's own forward: some scale or cap what comes out of the head.
        out = model(input_ids=ids[:, start:stop], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        measured = _measure(out.logits[0], ids[0, start + 1 : stop + 1])
        logprobs.append(measured[0])
        entropies.append(measured[1])
    return TokenScores(torch.cat(logprobs).cpu().numpy(), torch.cat(entropies).cpu().numpy())


def _measure(logits: torch.Tensor, taken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-prob of the token taken and entropy at each position, from logits [n, vocab]."""
    top = entropy_top2(logits)
    if top.entropy_nats.isnan().any():
        raise ValueError(
            f"the model gave NaN logits ({logits.dtype}): expected numbers; load it with dtype float32, or "
            "check its weights"
        )
    normaliser = logits.gather(1, top.top_ids[:, :1]).float() - top.top_logprobs[:, :1]
    logprobs = (logits.gather(1, taken[:, None]).float() - normaliser).squeeze(1)
    return logprobs.clamp_max(0), top.entropy_nats.clamp_min(0)
