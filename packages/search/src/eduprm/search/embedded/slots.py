"""Where prefixes lie and what is computed of them: the slots of the batch, and the prefixes kept beside them.

A slot is a row of `SlotCache` and the tokens that its keys and values stand for, which outlive the path that wrote
them. A prefix is brought to a slot from wherever most of it is held, and the rest is computed. What a tree under way
has brought stays until that tree is let go.

A forward over several short prefixes costs little more than one over the longest, since reading the weights is most of
it. But two prefixes that share a beginning nobody holds yet would compute it twice: the second waits for the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from eduprm.search.embedded.memory import PrefixCache, SlotCache

_MOST_TOKENS = 2048
# Other problems' prompts agree in a word or two behind the worked examples; computing those again is cheaper than
# a forward of one's own. Within a tree nothing is computed twice.
_WORTH_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prefix of which the first `held` tokens are there and the rest is to be computed."""

    tokens: tuple[int, ...]
    held: int
    group: str

    @property
    def missing(self) -> int:
        """Tokens to compute."""
        return len(self.tokens) - self.held


def worth_waiting(pending: Collection[Prefill], tokens: tuple[int, ...], *, group: str, held: int) -> bool:
    """Whether computing `pending` first would save a newcomer enough, beyond the `held` tokens it finds now.

    Examples:
        >>> first = Prefill(tuple(range(40)), 0, "p")
        >>> worth_waiting([first], tuple(range(30)), group="q", held=0)
        True
        >>> worth_waiting([first], tuple(range(30)), group="q", held=20)
        False
        >>> worth_waiting([first], tuple(range(30)), group="p", held=20)
        True
    """
    for part in pending:
        shared = next(
            (i for i, (a, b) in enumerate(zip(part.tokens, tokens, strict=False)) if a != b),
            min(len(part.tokens), len(tokens)),
        )
        gain = shared - held
        if gain >= _WORTH_TOKENS or (gain > 0 and group == part.group):
            return True
    return False


def batches(pending: Mapping[int, Prefill]) -> Iterator[list[int]]:
    """Slots to compute in one forward each: alike in length, and bounded in padded tokens.

    Examples:
        >>> part = Prefill((1, 2, 3), 0, "p")
        >>> list(batches({0: part, 2: part}))
        [[0, 2]]
    """
    chosen: list[int] = []
    for slot in sorted(pending, key=lambda slot: (pending[slot].missing, slot)):
        # Sorted by length, so the newcomer is the longest.
        if chosen and (len(chosen) + 1) * pending[slot].missing > _MOST_TOKENS:
            yield chosen
            chosen = []
        chosen.append(slot)
    if chosen:
        yield chosen


class Slots:
    """The model with its key-value memory.

    Args:
        model: a causal language model that attends as `eduprm.search.embedded.model` does.
        count: slots.
        cache_tokens: most prefix tokens kept beside them; trees under way may go beyond, see `has_room`.
    """

    def __init__(self, model: PreTrainedModel, *, count: int, cache_tokens: int) -> None:
        self._model = model
        self._cache_tokens = cache_tokens
        self._cache = PrefixCache(max_tokens=cache_tokens)
        self._kv = SlotCache(model.config, num_slots=count, device=model.device, dtype=model.dtype)
        self._resident: list[list[int]] = [[] for _ in range(count)]
        # How often each tree is held, and which of them have brought a prefix.
        self._holds: Counter[str] = Counter()
        self._begun: set[str] = set()
        self.num_prefilled = 0

    @property
    def has_room(self) -> bool:
        """Whether one more tree may begin: those under way have not filled the cache with what they need."""
        return self._cache.num_pinned < self._cache_tokens

    @property
    def num_held(self) -> int:
        """Prefix tokens kept beside the slots."""
        return self._cache.num_tokens

    def hold(self, tree: str) -> None:
        """From now on keep what the tree brings and computes."""
        self._holds[tree] += 1

    def release(self, tree: str) -> None:
        """Undo one `hold`; with the last one the tree's prefixes may be dropped."""
        self._holds[tree] -= 1
        if not self._holds[tree]:
            del self._holds[tree]
            self._begun.discard(tree)
            self._cache.unpin(tree)

    def is_new(self, tree: str) -> bool:
        """Whether it is held and has brought nothing yet, so that it can still wait at no cost."""
        return tree in self._holds and tree not in self._begun

    def reset(self) -> None:
        """Forget all prefixes."""
        self._cache.clear()
        self.clear()

    def clear(self) -> None:
        """Forget what lies in the slots: after a failure in mid-step nothing there is sure."""
        self._resident = [[] for _ in self._resident]

    def nearest(self, slots: list[int], tokens: tuple[int, ...]) -> int:
        """The slot that holds most of a prefix already; the first among equals."""
        return max(slots, key=lambda slot: (_shared(self._resident[slot], tokens), -slot))

    def num_cached(self, slot: int, tokens: tuple[int, ...]) -> int:
        """How many tokens of a prefix need not be computed if it is brought to this slot."""
        return max(_shared(self._resident[slot], tokens), self._cache.match(tokens)[0])

    def load_prefix(self, slot: int, tokens: tuple[int, ...], *, tree: str) -> int:
        """Bring what is held of a prefix to a slot; returns how many of its tokens that is."""
        self._pin(tokens, tree)
        resident = _shared(self._resident[slot], tokens)
        held, blocks = self._cache.match(tokens)
        start = 0
        for block in blocks:
            stop = start + block.shape[3]
            if stop > resident:
                skip = max(resident - start, 0)
                self._kv.write(slot, start + skip, block[:, :, :, skip:])
            start = stop
        self._resident[slot] = list(tokens)
        return max(held, resident)

    def compute(self, pending: dict[int, Prefill]) -> None:
        """Compute the missing tokens of prefixes, several in one forward, and keep them; empties `pending`."""
        device = self._model.device
        for slots in batches(pending):
            parts = [pending[slot] for slot in slots]
            width = max(part.missing for part in parts)
            # Shorter rows are filled up behind their end: what is written there is overwritten before it is seen.
            ids = [[*part.tokens[part.held :], *[0] * (width - part.missing)] for part in parts]
            starts = torch.tensor([part.held for part in parts], device=device)
            columns = starts[:, None] + torch.arange(width, device=device)
            self._kv.select(rows=slots, columns=columns)
            self._model.base_model(
                input_ids=torch.tensor(ids, device=device),
                position_ids=columns,
                attention_mask=self._mask(columns),
                past_key_values=self._kv,
                use_cache=True,
            )
            for slot, part in zip(slots, parts, strict=True):
                self.num_prefilled += part.missing
                self.store_prefix(slot, part.tokens, tree=part.group)
        pending.clear()

    def step(self, rows: list[list[int]]) -> torch.Tensor:
        """Feed the last token of each row, which are the slots from 0 on; returns logits [rows, vocab] of the next."""
        device = self._model.device
        columns = torch.tensor([[len(tokens) - 1] for tokens in rows], device=device)
        self._kv.select(rows=slice(0, len(rows)), columns=columns)
        out = self._model(
            input_ids=torch.tensor([[tokens[-1]] for tokens in rows], device=device),
            position_ids=columns,
            attention_mask=self._mask(columns),
            past_key_values=self._kv,
            use_cache=True,
        )
        for slot, tokens in enumerate(rows):
            self._resident[slot] = tokens.copy()
        return out.logits[:, -1]

    def store_prefix(self, slot: int, tokens: tuple[int, ...], *, tree: str) -> None:
        """Keep a slot's keys and values for `tokens` beside the slots, for later forks."""
        held, _ = self._cache.match(tokens)
        if held < len(tokens):
            self._cache.insert(tokens, self._kv.read(slot, held, len(tokens)))
        self._pin(tokens, tree)

    def _pin(self, tokens: tuple[int, ...], tree: str) -> None:
        if tree in self._holds:
            self._begun.add(tree)
            self._cache.pin(tokens, tree)

    def move(self, source: int, target: int, length: int) -> None:
        """Move a row's first `length` tokens to another slot."""
        self._kv.move(source, target, length)
        self._resident[target] = self._resident[source][:length]

    def _mask(self, columns: torch.Tensor) -> torch.Tensor:
        """Additive mask [rows, 1, new, keys]: a token sees the columns up to its own."""
        every = torch.arange(int(columns.max()) + 1, device=columns.device)
        hidden = every > columns[:, :, None]
        dtype = self._model.dtype
        mask = torch.zeros(hidden.shape, dtype=dtype, device=columns.device)
        return mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None]


def in_pieces(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Logits [vocab] behind `ids`, at least four: a prefix in two pieces and then a step, a shorter row beside each."""
    slots = Slots(model, count=2, cache_tokens=0)
    slots.compute({0: Prefill(tuple(ids[:3]), 0, ""), 1: Prefill(tuple(ids[:2]), 0, "")})
    slots.compute({0: Prefill(tuple(ids[:-1]), 3, ""), 1: Prefill(tuple(ids[:3]), 2, "")})
    return slots.step([ids, ids[:4]])[0]


def _shared(held: list[int], tokens: tuple[int, ...]) -> int:
    """Length of the common prefix."""
    if tuple(held[: len(tokens)]) == tokens[: len(held)]:
        return min(len(held), len(tokens))
    return next(i for i, (a, b) in enumerate(zip(held, tokens, strict=False)) if a != b)
