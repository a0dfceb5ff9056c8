"""Whether the eager-CPU platform is to be used: only when it is named, never by accident.

SGLang calls `activate` (entry-point group `sglang.srt.platforms`) in every process, also where nobody chose this
platform. Nothing heavy is imported here. The platform itself is `eager_cpu`.
"""

from __future__ import annotations

import os

from eduprm.sglang.versions import check_version

PLATFORM = "eduprm_cpu"


def activate() -> str | None:
    """Return the platform's class path if SGLANG_PLATFORM names it, else None.

    Raises:
        RuntimeError: it is named on a machine where CUDA is available.
        IncompatibleSGLang: it is named and this SGLang is not supported.
    """
    if os.environ.get("SGLANG_PLATFORM") != PLATFORM:
        return None
    check_version()
    import torch

    if torch.cuda.is_available():
        raise RuntimeError(
            f"SGLANG_PLATFORM={PLATFORM} was chosen on a machine with {torch.cuda.device_count()} CUDA device(s), "
            "and would serve from the CPU. Unset SGLANG_PLATFORM to use the GPU; to mean the CPU, hide the GPUs "
            "with CUDA_VISIBLE_DEVICES= (empty)."
        )
    return "eduprm.sglang.eager_cpu.EagerCpuPlatform"
