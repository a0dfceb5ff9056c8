"""A process reward model behind HTTP: one score per step, from a client that loads neither torch nor the service.

The service is `eduprm.serve.server` (extra `server`), started by `python -m eduprm.serve`.
"""

from eduprm.serve.client import PrmClient, score_served
from eduprm.serve.wire import Limits, ModelInfo, ServedPrmError, Solution, SolutionResult

__all__ = [
    "Limits",
    "ModelInfo",
    "PrmClient",
    "ServedPrmError",
    "Solution",
    "SolutionResult",
    "score_served",
]
