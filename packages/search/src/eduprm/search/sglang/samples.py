"""What is said once when a setting is ignored: seeds of samples, on a server that does not use them."""

from __future__ import annotations

import warnings


def warn_of_seeds() -> None:
    """Say that drawn tokens do not repeat; Python shows it once a process."""
    warnings.warn(
        "the SGLang server ignores the seeds of samples, so samples do not repeat; start it with "
        "--enable-deterministic-inference if they have to (greedy paths and EDU trees draw nothing)",
        stacklevel=3,
    )
