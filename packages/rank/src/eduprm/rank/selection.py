"""Let rules choose: what a frame has enough for, and the application of each rule, problem by problem.

Ties, the same for all rules: scores within 1e-12 of the best, relatively, count as equal (sums of weights
differ by rounding); among them the candidate that was found first wins, by order, then tree, then leaf id. A
problem counts as *tied* when different answers shared the best score, so that only the order decided.
"""

from collections.abc import Sequence
from typing import cast

import polars as pl

from eduprm.core.errors import first_line
from eduprm.rank.candidates import (
    CandidateError,
    first_n,
    require_gold,
    validate_candidates,
    with_answer_key,
    with_order,
)
from eduprm.rank.names import RULES, NamedRule, get_rule
from eduprm.rank.rules._contract import VoteRule

_TIE_TOLERANCE = 1e-12

CHOICE_SCHEMA: dict[str, pl.DataType] = {
    "rule": pl.String(),
    "problem_id": pl.String(),
    "tree": pl.String(),
    "leaf": pl.Int32(),
    "answer": pl.String(),
    "correct": pl.Boolean(),
    "score": pl.Float64(),
    "tied": pl.Boolean(),
    "candidates": pl.Int32(),
}
"""Columns of what `choose` gives back: one row per rule and problem."""


def available_rules(candidates: pl.DataFrame) -> list[str]:
    """Names of the rules that this frame has the columns and rows for, in the registry's order.

    A rule on step scores needs a score for every candidate, one that reads gold answers a grade, one that asks which
    solution is greedy such a one in every problem.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> row = ["p", "ht", 1, "4", True, -1.5, 6, None]
        >>> available_rules(pl.DataFrame([row], schema=CANDIDATE_SCHEMA, orient="row"))
        ['majority', 'weighted_majority_probability', 'mean_logprob', 'oracle']
    """
    there = {name for name in ("step_scores", "correct") if candidates[name].null_count() == 0}
    there |= {"logprob_sum"} if _without_greedy(candidates).height else {"logprob_sum", "is_greedy"}
    return [rule.name for rule in RULES.values() if there.issuperset(rule.needs)]


def _without_greedy(candidates: pl.DataFrame) -> pl.DataFrame:
    if "is_greedy" not in candidates.columns:
        candidates = candidates.with_columns(is_greedy=_greedy_score(candidates))
    return candidates.filter(pl.col("is_greedy").max().over("problem_id") == 0).sort("problem_id")


def choose(candidates: pl.DataFrame, *, rules: Sequence[str], n: int | None = None) -> pl.DataFrame:
    """Let each rule choose one leaf per problem among its first ``n`` candidates.

    Args:
        candidates: see `eduprm.rank.validate_candidates`. All trees of a problem compete: filter first.
        rules: names, as `eduprm.rank.get_rule` reads them.
        n: only the first n in ``order`` compete; None for all.

    Returns:
        A frame of `CHOICE_SCHEMA`, sorted by rule (as given) and problem. ``score`` is what the rule
        maximised (nats for products and log-probs, summed weights for votes); ``candidates`` is how many competed.

    Raises:
        CandidateError: broken input, or what a rule needs is not there (step scores, a greedy solution).
        ValueError: unknown rule, or n below 1.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", 1, "4", True, -1.5, 6, [0.9]], ["p", "ht", 2, "5", False, -0.5, 6, [0.4]]]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> choose(frame, rules=["prm_min", "mean_logprob"]).select("rule", "leaf", "tied").rows()
        [('prm_min', 1, False), ('mean_logprob', 2, False)]
    """
    return _evaluate(candidates, rules, n=n)[0]


def rank_candidates(candidates: pl.DataFrame, *, rule: str) -> pl.DataFrame:
    """Every candidate's place under a rule, from 1; the first is the one that `choose` gives.

    A vote ranks the answers, and the candidates of one answer by their own weight; those without an answer come last.

    Args:
        candidates: see `eduprm.rank.validate_candidates`.
        rule: a name, as `eduprm.rank.get_rule` reads it.

    Returns:
        Columns problem_id, tree, leaf, place (Int32) and tied (of the problem), sorted by problem and place.

    Raises:
        CandidateError: as `choose`.
        ValueError: unknown rule.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", k, a, None, -1.0, 6, [s]] for k, a, s in ((1, "4", 0.2), (2, "5", 0.9), (3, "4", 0.3))]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> [rank_candidates(frame, rule=rule)["leaf"].to_list() for rule in ("prm_min", "hmr_prm_min")]
        [[2, 3, 1], [3, 1, 2]]
    """
    return choose_and_rank(candidates, rules=[rule], rank_by=rule)[1]


def choose_and_rank(
    candidates: pl.DataFrame, *, rules: Sequence[str], rank_by: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What `choose` gives for the rules and `rank_candidates` for one of them, each rule evaluated once.

    Raises:
        CandidateError: as `choose`.
        ValueError: unknown rule, or `rank_by` is none of the rules.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", k, "4", None, -1.0, 6, [s]] for k, s in ((1, 0.2), (2, 0.9))]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> choices, places = choose_and_rank(frame, rules=["prm_min", "majority"], rank_by="prm_min")
        >>> choices["leaf"].to_list(), places["leaf"].to_list()
        ([2, 1], [2, 1])
    """
    if rank_by not in rules:
        raise ValueError(f"rank_by must be one of the rules {', '.join(rules)}; got {rank_by!r}")
    choices, places = _evaluate(candidates, rules, rank_by=rank_by)
    assert places is not None
    return choices, places


def _evaluate(
    candidates: pl.DataFrame, names: Sequence[str], *, n: int | None = None, rank_by: str | None = None
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    rules = [get_rule(name) for name in names]
    frame = _prepare(candidates, rules, n=n)
    choices, places = [pl.DataFrame(schema=CHOICE_SCHEMA)], None
    for rule in rules:
        scored = _score(rule, frame)
        picked = _pick(rule, scored)
        choices.append(picked.select(list(CHOICE_SCHEMA)))
        if rule.name == rank_by:
            places = _places(rule, scored, picked)
    return pl.concat(choices), places


def _places(found: NamedRule, scored: pl.DataFrame, picked: pl.DataFrame) -> pl.DataFrame:
    keys = ["problem_id", "tree", "leaf"]
    first = picked.select(*keys, "tied", _first=pl.lit(True))
    scored = scored.join(first.select(*keys, "_first"), on=keys, how="left", maintain_order="left")
    scored = scored.join(
        first.select("problem_id", "tied"), on="problem_id", how="left", maintain_order="left"
    )
    # Answers of one score follow each other by their first candidate, each with all its candidates.
    group = pl.col("rank").min().over("problem_id", "answer_key") if found.is_vote else pl.lit(0)
    scored = scored.with_columns(_group=group, _first=pl.col("_first").fill_null(False))
    ordered = scored.sort(
        ["problem_id", "_first", "score", "_group", "_weight", "rank"],
        descending=[False, True, True, False, True, False],
    )
    place = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("problem_id")
    return ordered.select(*keys, place=place, tied=pl.col("tied"))


def _prepare(candidates: pl.DataFrame, rules: Sequence[NamedRule], *, n: int | None) -> pl.DataFrame:
    """The candidates that compete, with what rules read, sorted by (problem_id, rank)."""
    # Which one is greedy is seen on all candidates, before any is cut off.
    frame = first_n(validate_candidates(candidates).with_columns(is_greedy=_greedy_score(candidates)), n=n)
    for rule in rules:
        _check_needs(rule, frame)
    frame = with_answer_key(with_order(frame))
    return frame.with_columns(candidates=pl.len().cast(pl.Int32).over("problem_id"))


def _check_needs(rule: NamedRule, frame: pl.DataFrame) -> None:
    if "step_scores" in rule.needs and (missing := frame["step_scores"].null_count()):
        first = frame.filter(pl.col("step_scores").is_null()).row(0, named=True)
        raise CandidateError(
            f"rule {rule.name!r} needs step_scores, {missing} of {frame.height} candidates have none, first "
            f"problem_id={first['problem_id']!r} tree={first['tree']!r} leaf={first['leaf']}"
        )
    if "correct" in rule.needs:
        require_gold(frame)
    if "is_greedy" in rule.needs and (lacking := _without_greedy(frame)).height:
        raise CandidateError(
            f"rule {rule.name!r} needs a solution that the column greedy marks in every problem, "
            f"problem_id={lacking['problem_id'][0]!r} has none among its candidates"
        )


def _score(rule: NamedRule, frame: pl.DataFrame) -> pl.DataFrame:
    """Add _weight and score: what the rule maximises, the same for all candidates of an answer in a vote."""
    try:
        scored = frame.with_columns(_weight=rule.rule.score().cast(pl.Float64))
        if not rule.is_vote:
            scored = scored.with_columns(score=pl.col("_weight"))
        else:
            votes = cast(VoteRule, rule.rule).votes().cast(pl.Float64)
            # No answer, no vote: such a leaf is chosen only where no leaf has an answer.
            score = pl.when(pl.col("answer_key").is_null()).then(-1.0).otherwise(votes)
            scored = scored.with_columns(score=score)
    except pl.exceptions.PolarsError as error:
        raise CandidateError(f"rule {rule.name!r} cannot be evaluated: {first_line(error)}") from error
    bad = scored.filter((pl.col("_weight") + pl.col("score")).fill_null(float("nan")).is_nan())
    if bad.height:
        first = bad.row(0, named=True)
        raise CandidateError(
            f"rule {rule.name!r} must give every candidate a number, got {first['_weight']} and {first['score']} for "
            f"problem_id={first['problem_id']!r} tree={first['tree']!r} leaf={first['leaf']}"
        )
    return scored


def _pick(rule: NamedRule, scored: pl.DataFrame) -> pl.DataFrame:
    """One row per problem."""
    best = pl.col("score").max().over("problem_id")
    near = pl.col("score") >= best - _TIE_TOLERANCE * best.abs()
    tops = scored.filter((pl.col("score") == best) | near)
    # An oracle does not decide between right answers, so nothing it does is a tie.
    shared = (pl.col("answer_key").n_unique() > 1).over("problem_id") & pl.lit("correct" not in rule.needs)
    tops = tops.with_columns(tied=shared)
    if rule.is_vote:
        # The answer found first wins a tie; then its heaviest leaf stands for it.
        first_key = pl.col("answer_key").first().over("problem_id", order_by="rank")
        tops = tops.filter(pl.col("answer_key").eq_missing(first_key))
        tops = tops.sort(["problem_id", "_weight", "rank"], descending=[False, True, False])
    picked = tops.unique("problem_id", keep="first", maintain_order=True).sort("problem_id")
    return picked.with_columns(rule=pl.lit(rule.name))


def _greedy_score(candidates: pl.DataFrame) -> pl.Expr:
    """1 for what the column ``greedy`` marks; nothing without it."""
    marked = pl.col("greedy") if "greedy" in candidates.columns else pl.lit(False)
    return marked.cast(pl.Float64)
