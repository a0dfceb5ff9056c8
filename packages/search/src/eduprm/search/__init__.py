"""Grow trees of solutions from a policy: the engine contract, EDU sampling and its baselines.

`TransformersEngine`, `TextCutter`, `load_policy` and `score_tokens` need the extra `transformers` and are imported when
asked for.
Engines of SGLang are in `eduprm.search.sglang`.
"""

from typing import TYPE_CHECKING, Any

from eduprm.search.branches import Branch, CutRule, to_rows
from eduprm.search.budget import Budget
from eduprm.search.contract import (
    Completion,
    Engine,
    EngineMismatchError,
    PrefixHolder,
    Request,
    RequestError,
    Tokenizer,
    TransientError,
    holding,
)
from eduprm.search.cost import COST_SCHEMA
from eduprm.search.grow import Grown, Growth, Job, grow_forest, grow_forest_async, grow_trees
from eduprm.search.order import leaves_at_threshold, replayed
from eduprm.search.policy import PolicySettings
from eduprm.search.strategies._contract import PrefixScorer, Strategy
from eduprm.search.strategies.edu import EduSampling
from eduprm.search.strategies.greedy import Greedy
from eduprm.search.strategies.p_edu import PrunedEdu
from eduprm.search.strategies.temperature import HighTemperature
from eduprm.search.tokenizer import PolicyTokenizer

if TYPE_CHECKING:
    from eduprm.search.embedded import (
        TextCutter,
        TokenScorer,
        TransformersEngine,
        load_policy,
        score_tokens,
    )

__all__ = [
    "COST_SCHEMA",
    "Branch",
    "Budget",
    "Completion",
    "CutRule",
    "EduSampling",
    "Engine",
    "EngineMismatchError",
    "Greedy",
    "Grown",
    "Growth",
    "HighTemperature",
    "Job",
    "PolicySettings",
    "PolicyTokenizer",
    "PrefixHolder",
    "PrefixScorer",
    "PrunedEdu",
    "Request",
    "RequestError",
    "Strategy",
    "TextCutter",
    "TokenScorer",
    "Tokenizer",
    "TransformersEngine",
    "TransientError",
    "grow_forest",
    "grow_forest_async",
    "grow_trees",
    "holding",
    "leaves_at_threshold",
    "load_policy",
    "replayed",
    "score_tokens",
    "to_rows",
]


def __getattr__(name: str) -> Any:
    if name in ("TextCutter", "TokenScorer", "TransformersEngine", "load_policy", "score_tokens"):
        try:
            from eduprm.search import embedded
        except ImportError as error:
            raise ImportError(
                f"eduprm.search.{name} needs torch and transformers: install eduprm-search[transformers] ({error})"
            ) from error
        return getattr(embedded, name)
    raise AttributeError(f"module 'eduprm.search' has no attribute {name!r}")
