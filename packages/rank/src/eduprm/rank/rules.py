"""Selection rules: each maps the candidates of every problem to one chosen leaf.

Two kinds. A *leaf* rule gives every candidate a score and takes the best. A *vote* rule gives every candidate
a weight, makes of the weights of equal answers what the answer has behind it (their sum; WRF and HMR: see `votes`), and
takes a leaf of the best answer: its heaviest one. The aggregation in a rule's name is the one that makes its weights.
It does not know where scores come from, how rules are applied (see `selection`), or how
good a choice was (see `evaluate`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from eduprm.rank.votes import Votes, hybrid_majority_reward, summed, weighted_reward_frequency

AGGREGATIONS = ("min", "last", "product", "mean")
MIXTURES: dict[str, Callable[[float], Votes]] = {
    "wrf": weighted_reward_frequency,
    "hmr": hybrid_majority_reward,
}
"""Votes of the majority and the PRM together, by the beginning of their rules' names; each takes a share in [0, 1]."""
DEFAULT_SHARE = 0.5
"""WRF: reward and frequency weigh alike. HMR: a majority is clear when more than half agree."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A named way to choose. ``score`` builds the per-candidate expression: a score or the weight of a vote.

    ``votes`` builds what an answer has behind it, for rules of the kind "vote".

    Expressions are evaluated on rows sorted by (problem_id, rank) with the columns of the candidates frame,
    ``rank``, ``answer_key`` and ``is_greedy``; window expressions over ``problem_id`` are fine.
    """

    name: str
    kind: Literal["leaf", "vote"]
    score: Callable[[], pl.Expr]
    votes: Votes = summed
    needs_step_scores: bool = False
    needs_gold: bool = False


def aggregate_expr(aggregation: str, *, log: bool = False) -> pl.Expr:
    """Expression that folds ``step_scores`` (probabilities) to one number per candidate.

    With ``log`` the logarithm of it; ``product`` is always a sum of logs underneath: rules that use the
    log can tell 400 steps of 0.1 from 401. A score of 0 gives a log of minus infinity, which ranks last.

    Raises:
        ValueError: no such aggregation; the message lists them.

    Examples:
        >>> frame = pl.DataFrame({"step_scores": [[0.5, 0.25, 1.0]]})
        >>> [round(frame.select(aggregate_expr(a)).item(), 3) for a in AGGREGATIONS]
        [0.25, 1.0, 0.125, 0.583]
    """
    scores = pl.col("step_scores")
    if aggregation == "product":
        total = scores.list.eval(pl.element().log()).list.sum()
        return total if log else total.exp()
    folds = {"min": scores.list.min(), "last": scores.list.last(), "mean": scores.list.mean()}
    if aggregation not in folds:
        raise ValueError(f"aggregation must be one of {', '.join(AGGREGATIONS)}; got {aggregation!r}")
    return folds[aggregation].log() if log else folds[aggregation]


def _relative_weight(log_weight: pl.Expr) -> pl.Expr:
    """Weights over the heaviest of the problem: votes need ratios only, and those do not underflow."""
    top = log_weight.max().over("problem_id")
    return pl.when(top.is_infinite()).then(0.0).otherwise((log_weight - top).exp())


def _build_rules() -> dict[str, Rule]:
    rules = [
        Rule(name=f"prm_{a}", kind="leaf", needs_step_scores=True, score=_aggregate(a, log=a == "product"))
        for a in AGGREGATIONS
    ]
    rules.append(Rule(name="majority", kind="vote", score=lambda: pl.lit(1.0)))
    rules.append(
        Rule(
            name="weighted_majority_probability",
            kind="vote",
            score=lambda: _relative_weight(pl.col("logprob_sum")),
        )
    )
    rules += [
        Rule(name=f"weighted_majority_prm_{a}", kind="vote", needs_step_scores=True, score=_vote_weight(a))
        for a in AGGREGATIONS
    ]
    rules += [_mixture(kind, a, share=DEFAULT_SHARE) for kind in MIXTURES for a in AGGREGATIONS]
    rules += [
        Rule(name="mean_logprob", kind="leaf", score=lambda: pl.col("logprob_sum") / pl.col("num_tokens")),
        Rule(name="greedy", kind="leaf", score=lambda: pl.col("is_greedy")),
        Rule(name="oracle", kind="leaf", score=lambda: pl.col("correct").cast(pl.Float64), needs_gold=True),
    ]
    return {rule.name: rule for rule in rules}


def _mixture(kind: str, aggregation: str, *, share: float, name: str | None = None) -> Rule:
    return Rule(
        name=name or f"{kind}_prm_{aggregation}",
        kind="vote",
        needs_step_scores=True,
        score=_vote_weight(aggregation),
        votes=MIXTURES[kind](share),
    )


def _aggregate(aggregation: str, *, log: bool) -> Callable[[], pl.Expr]:
    return lambda: aggregate_expr(aggregation, log=log)


def _vote_weight(aggregation: str) -> Callable[[], pl.Expr]:
    return lambda: _relative_weight(aggregate_expr(aggregation, log=True))


RULES: dict[str, Rule] = _build_rules()
"""Every rule by name."""


def get_rule(name: str) -> Rule:
    """The rule of that name; ``wrf_prm_min@0.3`` and the like are a WRF or HMR with another share than the default.

    Raises:
        ValueError: no such rule; the message lists the names. Or a share that is no number in [0, 1].

    Examples:
        >>> get_rule("prm_min").kind, get_rule("wrf_prm_min@0.3").name
        ('leaf', 'wrf_prm_min@0.3')
    """
    if name in RULES:
        return RULES[name]
    base, _, share = name.partition("@")
    kind, _, aggregation = base.partition("_prm_")
    if not share or kind not in MIXTURES or base not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}; got {name!r}")
    try:
        return _mixture(kind, aggregation, share=float(share), name=name)
    except ValueError:
        raise ValueError(f"rule {base!r} takes a share in [0, 1] after the @, got {share!r}") from None
