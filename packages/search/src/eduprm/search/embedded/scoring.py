"""Entropies and log-probs of a text that already exists, in a teacher-forced pass, and its steps where they cut it.

For solutions of others, to be judged by a PRM that was trained on trees: cut by `eduprm.segment`'s rules, as trees of
the same policy are. The text goes through the model's own forward in chunks of positions, behind the keys and values of
what came before: the logits are the model's own, scaled or capped where it does that, and memory does not grow with
length times vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, takewhile
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache, PreTrainedModel

from eduprm.entropy import entropy_top2
from eduprm.search.embedded.model import load_policy, stop_ids_of
from eduprm.search.tokenizer import PolicyTokenizer
from eduprm.segment import Solution, get_segmenter, joint_segmenter, judged_texts, needs_of

_CHUNK_POSITIONS = 256


class TokenScores(NamedTuple):
    """What was measured of each token of the text; n tokens.

    Attributes:
        logprobs: float32 [n], at temperature 1.
        entropies: float32 [n], nats, of the distribution the token stands in.
        top_ids: int64 [n], the most probable token there.
    """

    logprobs: NDArray[np.float32]
    entropies: NDArray[np.float32]
    top_ids: NDArray[np.int64]


class TokenScorer:
    """Measures texts behind prefixes, and keeps the keys and values of the last one.

    Several solutions of one problem, or problems behind the same worked examples, share a prefix: give them one after
    the other, and what they share is computed once. Layers that slide forget their beginnings, so there nothing is
    shared.

    Args:
        model: a causal language model; its layers may slide.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self.reset()

    def reset(self) -> None:
        """Forget what is held, so that what follows does not depend on what came before, to the last bit."""
        self._ids: list[int] = []
        self._cache: Cache | None = None

    @torch.inference_mode()
    def score(self, *, prefix_ids: list[int], token_ids: list[int]) -> TokenScores:
        """Measure every token of `token_ids` after `prefix_ids`.

        Args:
            prefix_ids: what stands before, at least one token.
            token_ids: the text, as tokens.

        Raises:
            ValueError: no prefix, longer than the model's context, or logits that are no numbers.
        """
        _check(self._model, prefix_ids, token_ids)
        if not token_ids:
            return TokenScores(np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
        # The last token of the prefix is fed with the text: its logits are the first that are wanted.
        known = len(prefix_ids) - 1
        cache, held = self._held(prefix_ids[:known])
        all_ids = [*prefix_ids, *token_ids]
        ids = torch.tensor([all_ids], device=self._model.device)
        if held < known:
            # Nobody asks what follows inside the prefix: no head, no logits.
            body = self._model.base_model
            cache = body(input_ids=ids[:, held:known], past_key_values=cache, use_cache=True).past_key_values
        measured = []
        for start in range(known, len(all_ids) - 1, _CHUNK_POSITIONS):
            stop = min(start + _CHUNK_POSITIONS, len(all_ids) - 1)
            # The model's own forward: some scale or cap what comes out of the head.
            out = self._model(input_ids=ids[:, start:stop], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            measured.append(_measure(out.logits[0], ids[0, start + 1 : stop + 1]))
        self._ids, self._cache = all_ids[:-1], cache
        return TokenScores(*(torch.cat(parts).cpu().numpy() for parts in zip(*measured, strict=True)))

    def _held(self, wanted: list[int]) -> tuple[Cache | None, int]:
        """What is held of a prefix, cut down to it: its cache and its length. The scorer no longer holds it."""
        cache, ids = self._cache, self._ids
        self.reset()
        same = (a == b for a, b in zip(ids, wanted, strict=False))
        held = sum(takewhile(bool, same))
        if cache is None or held == 0 or any(cache.is_sliding) or not getattr(cache, "is_croppable", True):
            return None, 0
        if held < len(ids):
            cache.crop(held - len(ids))
        return cache, held


def score_tokens(model: PreTrainedModel, *, prefix_ids: list[int], token_ids: list[int]) -> TokenScores:
    """Measure one text; see `TokenScorer`, which is faster for many that share a prefix."""
    return TokenScorer(model).score(prefix_ids=prefix_ids, token_ids=token_ids)


def _check(model: PreTrainedModel, prefix_ids: list[int], token_ids: list[int]) -> None:
    total = len(prefix_ids) + len(token_ids)
    if not prefix_ids:
        raise ValueError("prefix_ids: expected at least one token, got none")
    if total > model.config.max_position_embeddings:
        raise ValueError(
            f"{len(prefix_ids)} prefix and {len(token_ids)} text tokens exceed the model's context of "
            f"{model.config.max_position_embeddings}"
        )


def _measure(logits: torch.Tensor, taken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-prob of the token taken, entropy and most probable token at each position, from logits [n, vocab]."""
    top = entropy_top2(logits)
    if top.entropy_nats.isnan().any():
        raise ValueError(
            f"the model gave NaN logits ({logits.dtype}): expected numbers; load it with dtype float32, or "
            "check its weights"
        )
    normaliser = logits.gather(1, top.top_ids[:, :1]).float() - top.top_logprobs[:, :1]
    logprobs = (logits.gather(1, taken[:, None]).float() - normaliser).squeeze(1)
    return logprobs.clamp_max(0), top.entropy_nats.clamp_min(0), top.top_ids[:, 0]


class TextCutter:
    r"""A policy with the segmenters that read its tokens.

    A tree may also end a step before a stop token. A text has none, so there it ends with its last step.

    Args:
        policy: bundled model, local folder or hub name. Its weights are loaded only if a segmenter asks for them.
        segmenters: names of `eduprm.segment` with the options of each; steps end where any of them ends one.
        device: of the weights; None for the GPU if there is one, else the CPU.

    Raises:
        ValueError: no such policy, segmenter or option.

    Examples:
        >>> cutter = TextCutter("smollm2-135m-instruct", {"lines": {}})
        >>> cutter.steps([], "2 * 3 = 6\n\n#### 6")
        ['2 * 3 = 6\n\n', '#### 6']
    """

    def __init__(
        self, policy: str, segmenters: Mapping[str, Mapping[str, object]], *, device: str | None = None
    ) -> None:
        self._cut = joint_segmenter(segmenters)
        self._tokenizer = PolicyTokenizer(policy)
        self._scorer: TokenScorer | None = None
        self._stop_ids: frozenset[int] = frozenset()
        if any(needs_of(get_segmenter(name, **options)) for name, options in segmenters.items()):
            model = load_policy(policy, device=device)
            self._scorer = TokenScorer(model)
            self._stop_ids = stop_ids_of(model)

    def reset(self) -> None:
        """Hold no prefix, so that what follows does not depend on what came before, to the last bit."""
        if self._scorer is not None:
            self._scorer.reset()

    def steps(self, prompt_ids: list[int], text: str) -> list[str]:
        """Steps of a text that stands behind a prompt; joined they are the text again.

        Raises:
            ValueError: prompt and text are longer than the policy's context.
        """
        ids, starts = self._tokenizer.encode_with_starts(text)
        texts = [text[start:stop] for start, stop in zip(starts, [*starts[1:], len(text)], strict=True)]
        solution = Solution(texts)
        if self._scorer is not None:
            measured = self._scorer.score(prefix_ids=prompt_ids, token_ids=ids)
            top_texts = judged_texts(measured.top_ids, self._tokenizer.decode, stop_ids=self._stop_ids)
            solution = Solution(texts, measured.entropies, measured.logprobs, top_texts)
        # Several tokens may make one character: they share its start, and a cut stands before the whole of it.
        begun = {starts[span.start] for span in self._cut(solution)}
        cuts = [0, *sorted(begun - {0, len(text)}), len(text)]
        return [text[start:stop] for start, stop in pairwise(cuts)]
