"""What one process of a training knows of the others: how many there are, which one it is, what the first one says.

For code that runs under torchrun or `accelerate launch`, which set RANK and WORLD_SIZE.
Importing it loads no torch; a process without those variables is the only one and first.
"""

from __future__ import annotations

import os
from typing import Any

__all__ = ["is_first_process", "num_processes", "share"]


def num_processes() -> int:
    """Return how many processes train together.

    Examples:
        >>> num_processes()
        1
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Return whether this process is the one that writes files and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def share(value: Any) -> Any:
    """Return the first process's `value` on every process; they must all call this, in the same order.

    Examples:
        >>> share(3)  # alone: nobody to wait for
        3
    """
    if num_processes() == 1:
        return value
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    from torch import cuda

    PartialState(cpu=not cuda.is_available())  # joins the others, once
    [shared] = broadcast_object_list([value], from_process=0)
    return shared
