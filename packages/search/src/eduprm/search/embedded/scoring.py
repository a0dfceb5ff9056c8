"""Entropies and log-probs of texts that already exist, in teacher-forced passes.

Texts go through the model's own forward in chunks of positions, behind the keys and values of what came before: the
logits are the model's own, scaled or capped where it does that, and memory does not grow with length times
vocabulary. Texts of one problem go through it together, and what they share is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache, PreTrainedModel

from eduprm.entropy import entropy_top2
from eduprm.search.embedded.model import (
    GROUPED,
    PiecesCheck,
    check_ids,
    check_layers,
    context_of,
    vocabulary_of,
)
from eduprm.search.embedded.tries import Trie, build_trie, groups_of

_CHUNK_POSITIONS = 256
# Tokens of texts that are merged: keys and values of all their branches are held at once, and a token is compared with
# those of other branches before the mask takes them out.
_MOST_MERGED = 2048


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
    """Measures texts behind prefixes, and keeps the keys and values of the last prefix.

    Texts of one problem, and problems behind the same worked examples, share a beginning: give the texts of a problem
    together, and such problems one after the other, and what they share is computed once. Layers that slide forget
    their beginnings, so there nothing is shared.

    Args:
        model: a causal language model; its layers may slide.

    Raises:
        ValueError: the model's config names no context length, or the model does not read in pieces as in one forward
            (`PiecesCheck`).
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()
        self._context = context_of(model)
        self._vocabulary = vocabulary_of(model)
        PiecesCheck(model).hold(self._in_pieces)
        self._merges: bool | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what is held, so that what follows does not depend on what came before, to the last bit."""
        self._ids: list[int] = []
        self._cache: Cache | None = None

    def check_length(self, prefix_ids: Sequence[int], token_ids: Sequence[int]) -> None:
        """Refuse what the model cannot read.

        Raises:
            ValueError: no prefix, longer than the model's context, or an id that it has no embedding for.
        """
        if not prefix_ids:
            raise ValueError("prefix_ids: expected at least one token, got none")
        if len(prefix_ids) + len(token_ids) > self._context:
            raise ValueError(
                f"{len(prefix_ids)} prefix and {len(token_ids)} text tokens exceed the model's context of "
                f"{self._context}"
            )
        check_ids("prefix_ids", prefix_ids, vocabulary=self._vocabulary)
        check_ids("texts", token_ids, vocabulary=self._vocabulary)

    @torch.inference_mode()
    def score(self, *, prefix_ids: list[int], texts: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Measure every token of each text behind `prefix_ids`; equal beginnings get equal values, to the last bit.

        Args:
            prefix_ids: what stands before, at least one token.
            texts: token ids of each.

        Raises:
            ValueError: as `check_length`, or logits that are no numbers.
        """
        for text in texts:
            self.check_length(prefix_ids, text)
        nothing = TokenScores(np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
        results = [nothing] * len(texts)
        there = [index for index, text in enumerate(texts) if len(text)]
        some = [texts[index] for index in there]
        groups = list(groups_of(some, most=_MOST_MERGED))
        tries = [build_trie(prefix_ids[-1], [some[index] for index in group]) for group in groups]
        if not all(trie.is_chain for trie in tries) and not self._can_merge():
            groups = [[index] for index in range(len(some))]
            tries = [build_trie(prefix_ids[-1], [text]) for text in some]
        for group, trie in zip(groups, tries, strict=True):
            measured = self._measured(prefix_ids, trie)
            for index, places in zip(group, trie.places, strict=True):
                results[there[index]] = TokenScores(
                    measured.logprobs[places], measured.entropies[places], measured.top_ids[places]
                )
        return results

    def _in_pieces(self, ids: list[int]) -> torch.Tensor:
        """Logits [vocab] behind `ids`, as texts are measured: a prefix, then the rest behind what is held of it."""
        first, rest = (torch.tensor([part], device=self._model.device) for part in (ids[:3], ids[3:]))
        cache = self._model.base_model(input_ids=first, use_cache=True).past_key_values
        logits: torch.Tensor = self._model(input_ids=rest, past_key_values=cache, use_cache=True).logits[
            0, -1
        ]
        return logits

    def _can_merge(self) -> bool:
        if self._merges is None:
            self._merges = takes_tree_masks(self._model)
        return self._merges

    def _measured(self, prefix_ids: list[int], trie: Trie) -> TokenScores:
        """Measure the tokens of a tree, in its order."""
        # The last token of the prefix is fed with the tree: its logits are the first that are wanted.
        known = len(prefix_ids) - 1
        device = self._model.device
        cache, held = self._held(prefix_ids[:known])
        if held < known:
            # Nobody asks what follows inside the prefix: no head, no logits.
            ids = torch.tensor([prefix_ids[held:known]], device=device)
            cache = self._model.base_model(
                input_ids=ids, past_key_values=cache, use_cache=True
            ).past_key_values
        fed, rows, tokens = (torch.from_numpy(part).to(device) for part in (trie.fed, trie.rows, trie.tokens))
        measured = []
        for start in range(0, len(fed), _CHUNK_POSITIONS):
            stop = min(start + _CHUNK_POSITIONS, len(fed))
            inputs = {} if trie.is_chain else _tree_inputs(trie, start, stop, before=known, model=self._model)
            # The model's own forward: some scale or cap what comes out of the head.
            out = self._model(
                input_ids=fed[None, start:stop], past_key_values=cache, use_cache=True, **inputs
            )
            cache = out.past_key_values
            own = slice(*np.searchsorted(trie.rows, [start, stop]).tolist())
            measured.append(_measure(out.logits[0], rows[own] - start, tokens[own]))
        self._keep(prefix_ids[:known], cache, extra=len(fed))
        return TokenScores(*(torch.cat(parts).cpu().numpy() for parts in zip(*measured, strict=True)))

    def _keep(self, ids: list[int], cache: Cache | None, *, extra: int) -> None:
        """Hold the cache of a prefix without the `extra` tokens behind it, if it can be cut."""
        if cache is None or not ids or any(cache.is_sliding) or not getattr(cache, "is_croppable", True):
            return
        try:
            cache.crop(-extra)
        except (RuntimeError, TypeError):
            return  # short convolutions (LFM2) keep no past to go back to, cross-attention (Mllama) no keys
        self._ids, self._cache = ids, cache

    def _held(self, wanted: list[int]) -> tuple[Cache | None, int]:
        """What is held of a prefix, cut down to it: its cache and its length. The scorer no longer holds it."""
        cache, ids = self._cache, self._ids
        self.reset()
        same = (a == b for a, b in zip(ids, wanted, strict=False))
        held = sum(takewhile(bool, same))
        if cache is None or held == 0:
            return None, 0
        if held < len(ids):
            cache.crop(held - len(ids))
        return cache, held


def score_tokens(model: PreTrainedModel, *, prefix_ids: list[int], token_ids: list[int]) -> TokenScores:
    """Measure one text; see `TokenScorer`, which is faster for many that share a prefix."""
    return TokenScorer(model).score(prefix_ids=prefix_ids, texts=[token_ids])[0]


@torch.inference_mode()
def takes_tree_masks(model: PreTrainedModel) -> bool:
    """Whether several texts can go through the model as one tree.

    Its layers must attend to all that came before, by an attention that keeps a mask for each pair, at positions that
    are given. Whether positions from 0 on are its own is tried (RoBERTa has others), and whether the mask is kept: a
    token that the last one must not see is changed, then one that it must see.
    """
    if model.config._attn_implementation not in ("sdpa", "eager", GROUPED):
        return False

    def as_tree(ids: list[int]) -> torch.Tensor:
        trie = build_trie(ids[0], [[*ids[1:], ids[0]]])
        inputs = _tree_inputs(trie, 0, len(ids), before=0, model=model)
        logits: torch.Tensor = model(
            input_ids=torch.tensor([ids], device=model.device), use_cache=False, **inputs
        ).logits
        return logits[0, -1]

    try:
        check_layers(model)
        PiecesCheck(model).hold(as_tree)
    except ValueError:
        return False
    trie = build_trie(1, [[2, 4], [3, 4]])
    inputs = _tree_inputs(trie, 0, 3, before=0, model=model)
    rows = (
        torch.tensor([[first, middle, 3]], device=model.device) for first, middle in ((1, 2), (1, 4), (4, 2))
    )
    here, sibling, root = (model(input_ids=ids, use_cache=False, **inputs).logits[0, 2] for ids in rows)
    # What is masked weighs nothing at all, so not a bit may change.
    return torch.equal(here, sibling) and not torch.equal(here, root)


def _tree_inputs(trie: Trie, start: int, stop: int, *, before: int, model: PreTrainedModel) -> dict[str, Any]:
    """Positions and additive mask [1, 1, stop - start, before + stop] of a tree's places, behind `before` tokens."""
    query, key = np.arange(start, stop)[:, None], np.arange(stop)[None]
    seen = (key <= query) & (query < trie.stops[None, :stop])
    hidden = torch.from_numpy(np.pad(~seen, ((0, 0), (before, 0)))).to(model.device)
    mask = torch.zeros(hidden.shape, dtype=model.dtype, device=model.device)
    mask.masked_fill_(hidden, torch.finfo(model.dtype).min)
    positions = torch.from_numpy(trie.depths[None, start:stop] + before).to(model.device)
    return {"attention_mask": mask[None, None], "position_ids": positions}


def _measure(
    logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-prob of each token, entropy and most probable token where it stands: `rows` [E] of logits [n, vocab]."""
    top = entropy_top2(logits)
    if top.entropy_nats.isnan().any():
        raise ValueError(
            f"the model gave NaN logits ({logits.dtype}): expected numbers; load it with dtype float32, or "
            "check its weights"
        )
    normalisers = logits.gather(1, top.top_ids[:, :1]).float() - top.top_logprobs[:, :1]
    logprobs = logits[rows, tokens].float() - normalisers[rows, 0]
    return logprobs.clamp_max(0), top.entropy_nats.clamp_min(0)[rows], top.top_ids[rows, 0]
