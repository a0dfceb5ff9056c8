"""Key-value memory of the rows being decoded: one slot a row, filled to a length of its own.

transformers' DynamicCache copies all keys and values at every step to append one column; these tensors are laid out
once and written in place, row by row at each row's own length. A transformers `Cache` only so far as a decoder's
forward needs one. Knows nothing of tokens or trees.

Shapes: slots S, key-value heads H, columns C, head size D; all tensors [S, H, C, D] per layer.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, PretrainedConfig

_COLUMN_STEP = 64


class SlotCache(Cache):
    """Preallocated keys and values of all layers for up to `num_slots` rows.

    Before each forward, `aim` says which slots the batch's rows are and at which columns their new tokens go.
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

    def aim(self, *, rows: slice | list[int], columns: torch.Tensor) -> None:
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
