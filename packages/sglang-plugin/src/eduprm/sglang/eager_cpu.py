"""SGLang on any CPU, in eager torch: the real scheduler and radix cache for tests and laptops.

SGLang's own CPU engine needs kernels built for it (AMX). This platform presents the CPU as an out-of-tree device,
for which SGLang takes its torch-native paths. Slow, exact, and not for production.
Source: sglang 0.5.23, `sglang.srt.platforms.interface` and `.cpu`.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.platforms.cpu import CpuDeviceMixin
from sglang.srt.platforms.device_mixin import PlatformEnum
from sglang.srt.platforms.interface import SRTPlatform


class EagerCpuPlatform(CpuDeviceMixin, SRTPlatform):
    """The CPU as an out-of-tree device."""

    _enum = PlatformEnum.OOT

    def get_default_attention_backend(self) -> str:
        """Attention through torch's scaled_dot_product_attention."""
        return "torch_native"

    def is_pin_memory_available(self, device: Any = None) -> bool:
        """There is no device to pin host memory for."""
        return False

    def get_group_coordinator_device(self, local_rank: int) -> torch.device:
        """All ranks share the one CPU device."""
        return torch.device("cpu")
