"""Grow trees of solutions from a policy: the engine contract, EDU sampling and its baselines.

`TransformersEngine`, `TextCutter`, `load_policy` and `score_tokens` need the extra `transformers` and are imported when
asked for, and so are the strategies beyond EDU and its baselines.
Engines of SGLang are in `eduprm.search.sglang`.
"""

from importlib import import_module
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
    from eduprm.search.strategies.beam import BeamSearch
    from eduprm.search.strategies.distinct_leaves import DistinctLeaves
    from eduprm.search.strategies.greedy_step import GreedySteps
    from eduprm.search.strategies.mcts_edu import MctsEdu
    from eduprm.search.strategies.omega_prm import OmegaPrm
    from eduprm.search.strategies.particle import ParticleFilter
    from eduprm.search.strategies.refine import Refine
    from eduprm.search.strategies.rollouts import Rollouts
    from eduprm.search.strategies.uncertain_first import UncertainFirst

_STRATEGIES = {
    "BeamSearch": "beam",
    "DistinctLeaves": "distinct_leaves",
    "GreedySteps": "greedy_step",
    "MctsEdu": "mcts_edu",
    "OmegaPrm": "omega_prm",
    "ParticleFilter": "particle",
    "Refine": "refine",
    "Rollouts": "rollouts",
    "UncertainFirst": "uncertain_first",
}

__all__ = [
    "COST_SCHEMA",
    "BeamSearch",
    "Branch",
    "Budget",
    "Completion",
    "CutRule",
    "DistinctLeaves",
    "EduSampling",
    "Engine",
    "EngineMismatchError",
    "Greedy",
    "GreedySteps",
    "Grown",
    "Growth",
    "HighTemperature",
    "Job",
    "MctsEdu",
    "OmegaPrm",
    "ParticleFilter",
    "PolicySettings",
    "PolicyTokenizer",
    "PrefixHolder",
    "PrefixScorer",
    "PrunedEdu",
    "Refine",
    "Request",
    "RequestError",
    "Rollouts",
    "Strategy",
    "TextCutter",
    "TokenScorer",
    "Tokenizer",
    "TransformersEngine",
    "TransientError",
    "UncertainFirst",
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
    if name in _STRATEGIES:
        return getattr(import_module(f"eduprm.search.strategies.{_STRATEGIES[name]}"), name)
    raise AttributeError(f"module 'eduprm.search' has no attribute {name!r}")
