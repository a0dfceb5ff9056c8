"""What this machine computes fast, and whether it can compile.

For settings that say "auto".
"""

from __future__ import annotations

import os
import shutil

import torch

from eduprm.prm.config import TrainConfig

__all__ = ["cpp_compiler", "has_fast_bfloat16", "settle_dtype"]


def has_fast_bfloat16() -> bool:
    """Say whether bfloat16 products are faster than float32 ones: a GPU that has them, or a CPU with AMX or AVX-512.

    On other CPUs bfloat16 is emulated, and slower than float32.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # no public name yet
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in tests)


def settle_dtype(config: TrainConfig) -> TrainConfig:
    """Return `config` with "auto" replaced by the dtype that is fast here."""
    if config.dtype != "auto":
        return config
    return config.model_copy(update={"dtype": "bfloat16" if has_fast_bfloat16() else "float32"})


def cpp_compiler() -> str | None:
    """Return the C++ compiler that torch.compile would use on a CPU, None if there is none."""
    return next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))), None)
