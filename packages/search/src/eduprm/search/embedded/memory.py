"""Keys and values: of the rows being decoded, a slot each, and of prefixes that may come again, in a radix tree.

Slots: transformers' DynamicCache copies all keys and values at every step to append one column; these tensors are laid
out once and written in place, row by row at each row's own length. Slots S, key-value heads H, columns C, head size D;
all tensors [S, H, C, D] per layer.

Prefixes: the idea is SGLang's radix cache (arXiv 2312.07104), in one process: an edge holds a run of tokens with their
keys and values; a prefix that leaves a run half-way splits it. All forks of a tree, and all problems behind the same
worked examples, find what they share. What a tree under way needs is pinned until that tree ends. A block is [layers,
2, heads, tokens, dim].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Cache, PretrainedConfig

_COLUMN_STEP = 64


class SlotCache(Cache):
    """Preallocated keys and values of all layers for up to `num_slots` rows.

    Before each forward, `select` says which slots the batch's rows are and at which columns their new tokens go.
    """

    def __init__(
        self, config: PretrainedConfig, *, num_slots: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        # Zeros, not empty: a masked column still meets a factor 0, and 0 * NaN is NaN.
        self._data = torch.zeros(
            (config.num_hidden_layers, 2, num_slots, heads, 0, dim), device=device, dtype=dtype
        )
        self._rows: slice | list[int] = slice(0, 0)
        self._columns = torch.empty(0, 0, dtype=torch.long)
        self._width = 0

    @property
    def num_columns(self) -> int:
        """Columns laid out at present."""
        return self._data.shape[4]

    def reserve(self, columns: int) -> None:
        """Make room for `columns` tokens a row; what is there stays."""
        if columns <= self.num_columns:
            return
        wanted = -(-columns // _COLUMN_STEP) * _COLUMN_STEP
        layers, two, slots, heads, _, dim = self._data.shape
        bigger = self._data.new_zeros((layers, two, slots, heads, wanted, dim))
        bigger[..., : self.num_columns, :] = self._data
        self._data = bigger

    def select(self, *, rows: slice | list[int], columns: torch.Tensor) -> None:
        """Point the next forward at slots `rows`; `columns` [rows, new] says where the new tokens go.

        A slice is worked on in place; a list of slots, in any order, is gathered.
        """
        self._rows = rows
        self._columns = columns
        self._width = int(columns.max()) + 1
        self.reserve(self._width)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one layer's new keys and values [rows, H, new, D] and return all up to the widest row."""
        keys, values = self._data[layer_idx, 0], self._data[layer_idx, 1]
        if isinstance(self._rows, slice):
            keys, values = keys[self._rows], values[self._rows]
            rows = torch.arange(len(self._columns), device=keys.device)
        else:
            rows = torch.tensor(self._rows, device=keys.device)
        keys[rows[:, None], :, self._columns] = key_states.transpose(1, 2)
        values[rows[:, None], :, self._columns] = value_states.transpose(1, 2)
        keys, values = keys[:, :, : self._width], values[:, :, : self._width]
        return (keys, values) if isinstance(self._rows, slice) else (keys[rows], values[rows])

    def read(self, slot: int, start: int, stop: int) -> torch.Tensor:
        """A copy of one row's columns, [layers, 2, H, stop - start, D]."""
        return self._data[:, :, slot, :, start:stop].clone()

    def write(self, slot: int, start: int, block: torch.Tensor) -> None:
        """Put a block as `read` returns it into a row, from column `start` on."""
        stop = start + block.shape[3]
        self.reserve(stop)
        self._data[:, :, slot, :, start:stop] = block

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first `length` columns to another slot."""
        self._data[:, :, target, :, :length] = self._data[:, :, source, :, :length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Not a single number here: positions are always given with the input."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Width and offset of the mask, for transformers' mask helpers."""
        return self._width, 0

    @property
    def is_sliding(self) -> list[bool]:
        """No layer slides: the engine refuses models whose layers do."""
        return [False] * self._data.shape[0]

    @property
    def is_compileable(self) -> bool:
        """Shapes change from step to step."""
        return False


@dataclass(slots=True, eq=False)
class _Run:
    """A run of tokens below a parent, with their keys and values."""

    tokens: tuple[int, ...]
    block: torch.Tensor | None
    parent: _Run | None
    used: int = 0
    pins: set[str] = field(default_factory=set)
    children: dict[int, _Run] = field(default_factory=dict)


class PrefixCache:
    """Longest-prefix store with a bound in tokens; the least recently used ends go first.

    Args:
        max_tokens: most tokens held; above it the runs used longest ago are dropped, ends first, but none that
            is pinned.

    Examples:
        >>> import torch
        >>> cache = PrefixCache(max_tokens=100)
        >>> cache.insert((1, 2, 3), torch.zeros(1, 2, 1, 3, 4))
        >>> cache.match((1, 2, 9))[0]
        2
    """

    def __init__(self, *, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._clock = 0
        self.num_tokens = 0
        self.num_pinned = 0
        self._root = _Run(tokens=(), block=None, parent=None)

    def clear(self) -> None:
        """Forget everything."""
        self._clock = 0
        self.num_tokens = 0
        self.num_pinned = 0
        self._root = _Run(tokens=(), block=None, parent=None)

    def pin(self, tokens: tuple[int, ...], name: str) -> None:
        """Keep what is held of a prefix until `unpin(name)`."""
        for run, shared in self._walk(tokens):
            kept = run if shared == len(run.tokens) else self._split(run, shared)
            self.num_pinned += 0 if kept.pins else shared
            kept.pins.add(name)

    def unpin(self, name: str) -> None:
        """Let go of everything pinned under a name."""
        self._clock += 1
        for run in self._runs():
            if name in run.pins:
                run.pins.remove(name)
                self.num_pinned -= 0 if run.pins else len(run.tokens)
        self._evict()

    def match(self, tokens: tuple[int, ...]) -> tuple[int, list[torch.Tensor]]:
        """The longest prefix of `tokens` that is held: its length, and its blocks in order."""
        self._clock += 1
        length, blocks = 0, []
        for run, shared in self._walk(tokens):
            run.used = self._clock
            assert run.block is not None
            blocks.append(run.block[:, :, :, :shared])
            length += shared
        return length, blocks

    def insert(self, tokens: tuple[int, ...], block: torch.Tensor) -> None:
        """Hold `tokens`; `block` has the keys and values of the last `block.shape[3]` of them.

        Raises:
            ValueError: the tokens before those are not held (any more), so the block hangs in the air.
        """
        self._clock += 1
        first = len(tokens) - block.shape[3]
        node, length = self._root, 0
        for run, shared in self._walk(tokens):
            run.used = self._clock
            node, length = run, length + shared
            if shared < len(run.tokens):
                node = self._split(run, shared)
        if length == len(tokens):
            return
        if length < first:
            raise ValueError(f"expected a held prefix of at least {first} tokens, got {length}")
        # A copy, so that a view of a long path does not keep all of it alive.
        own = block[:, :, :, length - first :].clone()
        run = _Run(tokens=tokens[length:], block=own, parent=node, used=self._clock)
        node.children[tokens[length]] = run
        self.num_tokens += len(run.tokens)
        self._evict()

    def _walk(self, tokens: tuple[int, ...]) -> Iterator[tuple[_Run, int]]:
        """Runs along `tokens`, each with how many of its tokens are shared; ends at a partly shared one."""
        node, start = self._root, 0
        while start < len(tokens):
            run = node.children.get(tokens[start])
            if run is None:
                return
            shared = common_length(run.tokens, tokens[start : start + len(run.tokens)])
            # Asked before the yield: whoever takes a partly shared run may split it.
            ends = shared < len(run.tokens)
            yield run, shared
            start += shared
            if ends:
                return
            node = run

    def _split(self, run: _Run, at: int) -> _Run:
        """Cut a run in two; returns the upper part, which takes the run's place."""
        assert run.block is not None
        assert run.parent is not None
        upper = _Run(
            tokens=run.tokens[:at],
            block=run.block[:, :, :, :at].clone(),
            parent=run.parent,
            used=run.used,
            pins=run.pins.copy(),
        )
        run.parent.children[run.tokens[0]] = upper
        run.tokens, run.block, run.parent = run.tokens[at:], run.block[:, :, :, at:].clone(), upper
        upper.children[run.tokens[0]] = run
        return upper

    def _evict(self) -> None:
        while self.num_tokens > self._max_tokens:
            ends = [run for run in self._runs() if not (run.children or run.pins) and run.used < self._clock]
            if not ends:
                return
            oldest = min(ends, key=lambda run: run.used)
            assert oldest.parent is not None
            del oldest.parent.children[oldest.tokens[0]]
            self.num_tokens -= len(oldest.tokens)

    def _runs(self) -> Iterator[_Run]:
        waiting = list(self._root.children.values())
        while waiting:
            run = waiting.pop()
            waiting.extend(run.children.values())
            yield run


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Tokens that both begin with."""
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
