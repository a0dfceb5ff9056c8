"""Choose among solutions: candidates, selection rules, accuracies with intervals; files of solutions in and out.

Frames in, frames out, without torch. Ranking a file (`eduprm.rank.run.rank_file`) needs the extra `files`.
"""

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.rank.bootstrap import Difference as Difference
    from eduprm.rank.bootstrap import paired_difference as paired_difference
    from eduprm.rank.candidates import CANDIDATE_SCHEMA as CANDIDATE_SCHEMA
    from eduprm.rank.candidates import CandidateError as CandidateError
    from eduprm.rank.candidates import candidates_from_leaves as candidates_from_leaves
    from eduprm.rank.candidates import first_n as first_n
    from eduprm.rank.candidates import validate_candidates as validate_candidates
    from eduprm.rank.evaluate import EVALUATION_SCHEMA as EVALUATION_SCHEMA
    from eduprm.rank.evaluate import evaluate_methods as evaluate_methods
    from eduprm.rank.evaluate import evaluate_rules as evaluate_rules
    from eduprm.rank.evaluate import pass_at as pass_at
    from eduprm.rank.evaluate import summarise_choices as summarise_choices
    from eduprm.rank.names import RULES as RULES
    from eduprm.rank.names import NamedRule as NamedRule
    from eduprm.rank.names import get_rule as get_rule
    from eduprm.rank.names import make_rule as make_rule
    from eduprm.rank.names import rule_label as rule_label
    from eduprm.rank.rules._aggregate import AGGREGATIONS as AGGREGATIONS
    from eduprm.rank.rules._aggregate import aggregate_expr as aggregate_expr
    from eduprm.rank.rules._aggregate import reward_weight as reward_weight
    from eduprm.rank.selection import CHOICE_SCHEMA as CHOICE_SCHEMA
    from eduprm.rank.selection import available_rules as available_rules
    from eduprm.rank.selection import choose as choose
    from eduprm.rank.selection import rank_candidates as rank_candidates

# Loaded on first use: a command line answers a wrong flag before polars is there.
_WHERE = {
    "AGGREGATIONS": "rules._aggregate",
    "CANDIDATE_SCHEMA": "candidates",
    "CHOICE_SCHEMA": "selection",
    "CandidateError": "candidates",
    "Difference": "bootstrap",
    "EVALUATION_SCHEMA": "evaluate",
    "NamedRule": "names",
    "RULES": "names",
    "aggregate_expr": "rules._aggregate",
    "available_rules": "selection",
    "candidates_from_leaves": "candidates",
    "choose": "selection",
    "evaluate_methods": "evaluate",
    "evaluate_rules": "evaluate",
    "first_n": "candidates",
    "get_rule": "names",
    "make_rule": "names",
    "paired_difference": "bootstrap",
    "pass_at": "evaluate",
    "rank_candidates": "selection",
    "reward_weight": "rules._aggregate",
    "rule_label": "names",
    "summarise_choices": "evaluate",
    "validate_candidates": "candidates",
}

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
