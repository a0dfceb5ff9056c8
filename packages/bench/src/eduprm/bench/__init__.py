"""Judge a PRM: best-of-N with intervals, what it cost in tokens, figures, and problems to measure on.

Everything works on polars frames; nothing here loads torch. Figures (matplotlib), the console table (rich)
and reasoning-gym are imported when they are first used: `eduprm.bench.figures`, `eduprm.bench.table`,
`eduprm.bench.tasks`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eduprm.bench.bootstrap import Difference as Difference
    from eduprm.bench.bootstrap import paired_difference as paired_difference
    from eduprm.bench.candidates import CANDIDATE_SCHEMA as CANDIDATE_SCHEMA
    from eduprm.bench.candidates import CandidateError as CandidateError
    from eduprm.bench.candidates import candidates_from_leaves as candidates_from_leaves
    from eduprm.bench.candidates import first_n as first_n
    from eduprm.bench.candidates import validate_candidates as validate_candidates
    from eduprm.bench.cost import COST_SCHEMA as COST_SCHEMA
    from eduprm.bench.cost import summarise_cost as summarise_cost
    from eduprm.bench.cost import token_cost as token_cost
    from eduprm.bench.equal import equal_tokens as equal_tokens
    from eduprm.bench.evaluate import EVALUATION_SCHEMA as EVALUATION_SCHEMA
    from eduprm.bench.evaluate import evaluate_methods as evaluate_methods
    from eduprm.bench.evaluate import evaluate_rules as evaluate_rules
    from eduprm.bench.evaluate import pass_at as pass_at
    from eduprm.bench.evaluate import summarise_choices as summarise_choices
    from eduprm.bench.metrics import METRIC_SCHEMA as METRIC_SCHEMA
    from eduprm.bench.metrics import auc as auc
    from eduprm.bench.metrics import auc_within as auc_within
    from eduprm.bench.metrics import brier as brier
    from eduprm.bench.metrics import expected_calibration_error as expected_calibration_error
    from eduprm.bench.metrics import reliability as reliability
    from eduprm.bench.metrics import score_metrics as score_metrics
    from eduprm.bench.prompts import messages_for as messages_for
    from eduprm.bench.prompts import style_for as style_for
    from eduprm.bench.rules import AGGREGATIONS as AGGREGATIONS
    from eduprm.bench.rules import RULES as RULES
    from eduprm.bench.rules import Rule as Rule
    from eduprm.bench.rules import get_rule as get_rule
    from eduprm.bench.selection import CHOICE_SCHEMA as CHOICE_SCHEMA
    from eduprm.bench.selection import available_rules as available_rules
    from eduprm.bench.selection import choose as choose
    from eduprm.bench.selection import rank_candidates as rank_candidates
    from eduprm.bench.task_list import TASKS as TASKS
    from eduprm.bench.tasks import make_problems as make_problems
    from eduprm.bench.tasks import make_split as make_split

# Loaded on first use: a command line answers a wrong flag before polars is there.
_WHERE = {
    "AGGREGATIONS": "rules",
    "CANDIDATE_SCHEMA": "candidates",
    "CHOICE_SCHEMA": "selection",
    "COST_SCHEMA": "cost",
    "CandidateError": "candidates",
    "Difference": "bootstrap",
    "EVALUATION_SCHEMA": "evaluate",
    "METRIC_SCHEMA": "metrics",
    "RULES": "rules",
    "Rule": "rules",
    "TASKS": "task_list",
    "auc": "metrics",
    "auc_within": "metrics",
    "available_rules": "selection",
    "brier": "metrics",
    "candidates_from_leaves": "candidates",
    "choose": "selection",
    "equal_tokens": "equal",
    "evaluate_methods": "evaluate",
    "evaluate_rules": "evaluate",
    "expected_calibration_error": "metrics",
    "first_n": "candidates",
    "get_rule": "rules",
    "make_problems": "tasks",
    "make_split": "tasks",
    "messages_for": "prompts",
    "paired_difference": "bootstrap",
    "pass_at": "evaluate",
    "rank_candidates": "selection",
    "reliability": "metrics",
    "score_metrics": "metrics",
    "style_for": "prompts",
    "summarise_choices": "evaluate",
    "summarise_cost": "cost",
    "token_cost": "cost",
    "validate_candidates": "candidates",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
