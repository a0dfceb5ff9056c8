"""entropy_top2 allocates tiles, never an array of the size of the logits."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from eduprm.entropy import entropy_top2


class LargestAllocation(TorchDispatchMode):
    """Records the bytes of the largest storage any operation under it returns, inputs' own storages aside."""

    def __init__(self, *inputs: Tensor) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, Tensor) and item.untyped_storage().data_ptr() not in self.known:
                self.bytes = max(self.bytes, item.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_extra_memory_does_not_grow_with_the_rows(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The recorder sees its own thread only.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    logits = torch.randn(40, 30, 2000).to(dtype).transpose(0, 1)
    with LargestAllocation(logits) as seen:
        entropy_top2(logits, chunk_rows=4)
    assert 0 < seen.bytes < logits.numel() * 4 / 30
