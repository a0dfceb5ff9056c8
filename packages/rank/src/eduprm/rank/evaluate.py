"""Accuracy of selection rules with intervals: best-of-N, pass@N, and tables over methods and budgets."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from eduprm.rank.bootstrap import mean_intervals
from eduprm.rank.candidates import first_n, require_gold, validate_candidates
from eduprm.rank.selection import available_rules, choose

EVALUATION_SCHEMA: dict[str, pl.DataType] = {
    "rule": pl.String(),
    "n": pl.Int32(),
    "candidates": pl.Float64(),
    "accuracy": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "problems": pl.Int32(),
    "ties": pl.Int32(),
}
"""Columns of what `evaluate_rules` gives back."""


def evaluate_rules(
    candidates: pl.DataFrame,
    *,
    rules: Sequence[str] | None = None,
    n: int | None = None,
    seed: int,
    bootstrap: int = 2000,
) -> pl.DataFrame:
    """Accuracy over problems of each rule on the first ``n`` candidates, with 95 % bootstrap intervals.

    Args:
        candidates: see `eduprm.bench.validate_candidates`; all trees of a problem compete, so filter first.
        rules: names of rules; None for all that the frame has what is needed for.
        n: candidates per problem, in ``order``; None for all.
        seed: hashed; equal seeds give equal resamples for all rules and calls on the same problems.
        bootstrap: resamples of the problems.

    Returns:
        A frame of `EVALUATION_SCHEMA`, one row per rule. ``n`` is the one asked for, or the largest number of
        candidates of a problem; ``candidates`` is the mean number that did compete; ``ties`` counts problems
        where the order alone decided between answers.

    Raises:
        CandidateError: broken input, no rows, or a rule that lacks what it needs.
        ValueError: unknown rule or n below 1.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", 1, "4", True, -1.5, 6, [0.9]], ["p", "ht", 2, "5", False, -0.5, 6, [0.4]]]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> results = evaluate_rules(frame, rules=["prm_min", "majority"], seed=0)
        >>> results.select("rule", "accuracy", "ties").rows()
        [('prm_min', 1.0, 0), ('majority', 1.0, 1)]
    """
    frame = require_gold(validate_candidates(candidates))
    names = list(available_rules(frame) if rules is None else rules)
    choices = choose(frame, rules=names, n=n)
    return summarise_choices(choices, n=n, seed=seed, bootstrap=bootstrap)


def summarise_choices(
    choices: pl.DataFrame, *, n: int | None = None, seed: int, bootstrap: int = 2000
) -> pl.DataFrame:
    """Accuracy and interval of each rule from what `choose` gave; the second half of `evaluate_rules`.

    Raises:
        ValueError: no rows, a choice without a gold grade, or a rule has no choice for a problem that another rule has.

    Examples:
        >>> from eduprm.rank.selection import CHOICE_SCHEMA
        >>> row = ["majority", "p", "ht", 1, "4", True, 1.0, False, 1]
        >>> choices = pl.DataFrame([row], schema=CHOICE_SCHEMA, orient="row")
        >>> summarise_choices(choices, n=1, seed=0)["accuracy"].to_list()
        [1.0]
    """
    if not choices.height:
        raise ValueError("no choices to summarise: no rules, or no candidates")
    wide = choices.pivot(on="rule", index="problem_id", values="correct").sort("problem_id")
    names = choices["rule"].unique(maintain_order=True).to_list()
    lacking = wide.filter(pl.any_horizontal(pl.col(names).is_null()))
    if lacking.height:
        raise ValueError(
            f"every rule must choose for every problem, problem_id={lacking['problem_id'][0]!r} lacks one"
        )
    values = wide.select(pl.col(names).cast(pl.Float64)).to_numpy()
    intervals = mean_intervals(values, wide["problem_id"].to_list(), seed=seed, bootstrap=bootstrap)
    rows = [(name, float(values[:, k].mean()), *intervals[k]) for k, name in enumerate(names)]
    accuracy = pl.DataFrame(rows, schema=["rule", "accuracy", "ci_low", "ci_high"], orient="row")
    counts = choices.group_by("rule").agg(
        n=pl.col("candidates").max() if n is None else pl.lit(n),
        candidates=pl.col("candidates").mean(),
        problems=pl.len(),
        ties=pl.col("tied").sum(),
    )
    joined = accuracy.join(counts, on="rule", how="left", maintain_order="left")
    return joined.select(list(EVALUATION_SCHEMA)).cast(pl.Schema(EVALUATION_SCHEMA))


def evaluate_methods(
    methods: Mapping[str, pl.DataFrame],
    *,
    ns: Sequence[int],
    rules: Sequence[str] | None = None,
    seed: int,
    bootstrap: int = 2000,
) -> pl.DataFrame:
    """`evaluate_rules` for several ways of sampling and several n: one frame with ``method`` in front.

    All methods must hold the same problems, so that their rows can be compared and paired.

    Raises:
        ValueError: the problems differ between methods; and what `evaluate_rules` raises.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", 1, "4", True, -1.5, 6, None], ["p", "ht", 2, "5", False, -0.5, 6, None]]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> evaluate_methods({"HT": frame}, ns=[1, 2], rules=["oracle"], seed=0).select("method", "n").rows()
        [('HT', 1), ('HT', 2)]
    """
    problems = {name: set(frame["problem_id"].unique()) for name, frame in methods.items()}
    first = next(iter(problems), "")
    for name, ids in problems.items():
        if odd := sorted(ids ^ problems[first]):
            raise ValueError(
                f"methods {first!r} and {name!r} must hold the same problems, differ in {odd[0]!r}"
            )
    frames = [
        evaluate_rules(frame, rules=rules, n=n, seed=seed, bootstrap=bootstrap).select(
            pl.lit(name).alias("method"), pl.all()
        )
        for name, frame in methods.items()
        for n in ns
    ]
    return pl.concat(frames)


def pass_at(candidates: pl.DataFrame, *, n: int, exchangeable: bool = False) -> pl.DataFrame:
    """Whether any of n candidates is right, per problem: ``problem_id``, ``pass_at`` (Float64), sorted.

    Args:
        candidates: see `eduprm.bench.validate_candidates`.
        n: how many candidates count.
        exchangeable: False takes the first n in order (0 or 1 per problem): right for a tree. True averages
            over all draws of n out of the problem's candidates, 1 - C(wrong, n) / C(all, n) (Chen et al.
            2021, arXiv 2107.03374): less noisy, for independent samples only. A problem with fewer than n
            uses what it has.

    Raises:
        CandidateError: broken input.
        ValueError: n below 1.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", 1, "4", True, -1.5, 6, None], ["p", "ht", 2, "5", False, -0.5, 6, None]]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> [pass_at(frame, n=1, exchangeable=e)["pass_at"].item() for e in (False, True)]
        [1.0, 0.5]
    """
    frame = require_gold(validate_candidates(candidates))
    counted = first_n(frame, n=None if exchangeable else n)
    counts = (
        counted.group_by("problem_id")
        .agg(total=pl.len(), wrong=(~pl.col("correct")).sum())
        .sort("problem_id")
    )
    if not exchangeable:
        return counts.select("problem_id", pass_at=(pl.col("wrong") < pl.col("total")).cast(pl.Float64))
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    shares = [_any_right(total, wrong, n) for total, wrong in counts.select("total", "wrong").rows()]
    return counts.select("problem_id", pl.Series("pass_at", shares, dtype=pl.Float64))


def _any_right(total: int, wrong: int, n: int) -> float:
    n = min(n, total)
    if wrong < n:
        return 1.0
    taken = np.arange(n, dtype=np.float64)
    return float(1.0 - np.prod((wrong - taken) / (total - taken)))
