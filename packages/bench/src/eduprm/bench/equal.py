"""Comparisons at equal tokens: as many independent samples as another method's tokens would have paid for."""

from typing import Literal

import polars as pl

from eduprm.rank.candidates import first_n, validate_candidates, with_order


def equal_tokens(
    samples: pl.DataFrame,
    budget: pl.DataFrame,
    *,
    greedy: pl.DataFrame | None = None,
    crossing: Literal["drop", "keep"] = "drop",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates of independent samples that fit in the tokens another method decoded, problem by problem.

    The greedy solution (if given) is paid first; then samples follow in their order while their tokens fit. The first
    sample that crosses the budget ends the draw: taking a shorter one after it would favour short answers.
    ``crossing="drop"`` leaves it out, so the samples get a little less than the budget; ``"keep"`` takes it, a little
    more. The truth lies between: report both where it matters.

    The first candidate of a problem is always kept, so that every problem stays in the comparison: without those in
    which nothing fits, the smaller the budget the easier the problems. Where it alone costs more than the budget,
    `over` says so; there the comparison favours the samples.

    Args:
        samples: candidates, one tree of independent samples per problem.
        budget: columns problem_id and decoded (e.g. rows of `token_cost` for the other method).
        greedy: candidates, one greedy solution per problem.
        crossing: what to do with the sample that crosses the budget.

    Returns:
        The candidates (with ``order`` anew: greedy first), and one row per problem: problem_id, budget,
        spent, samples (taken, without the greedy one), exhausted (all samples were taken and budget was
        left: draw more, or the comparison is unfair to them), over (the first candidate alone costs more than the
        budget).

    Raises:
        ValueError: problems without a budget or without a greedy solution; broken candidates.

    Examples:
        >>> from eduprm.rank import CANDIDATE_SCHEMA
        >>> rows = [["p", "ht", k, "4", True, -1.5, 6, None] for k in (1, 2, 3)]
        >>> frame = pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")
        >>> kept, spent = equal_tokens(frame, pl.DataFrame({"problem_id": ["p"], "decoded": [13]}))
        >>> kept["leaf"].to_list(), spent["spent"].to_list()
        ([1, 2], [12])
    """
    if crossing not in ("drop", "keep"):
        raise ValueError(f"crossing must be 'drop' or 'keep', got {crossing!r}")
    ordered = with_order(validate_candidates(samples)).with_columns(order=pl.col("rank") + 1).drop("rank")
    if greedy is not None:
        first = first_n(validate_candidates(greedy), n=1).with_columns(order=pl.lit(0, dtype=pl.Int32))
        _same_problems(ordered, first, "greedy")
        ordered = pl.concat([first.select(ordered.columns), ordered])
    _same_problems(ordered, budget, "budget")
    limits = budget.select("problem_id", budget=pl.col("decoded").cast(pl.Int64))
    ordered = ordered.sort("problem_id", "order").join(
        limits, on="problem_id", how="left", maintain_order="left"
    )
    after = pl.col("num_tokens").cast(pl.Int64).cum_sum().over("problem_id", order_by="order")
    reached = after if crossing == "drop" else after - pl.col("num_tokens")
    fits = (reached <= pl.col("budget")) if crossing == "drop" else (reached < pl.col("budget"))
    first_one = pl.col("order") == pl.col("order").min().over("problem_id")
    flagged = ordered.with_columns(_taken=fits | first_one)
    spent = flagged.group_by("problem_id").agg(
        budget=pl.col("budget").first(),
        spent=pl.col("num_tokens").filter("_taken").sum().cast(pl.Int64),
        samples=(pl.col("_taken") & (pl.col("order") > 0)).sum(),
        exhausted=pl.col("_taken").all(),
        over=pl.col("num_tokens").first() > pl.col("budget").first(),
    )
    spent = spent.with_columns(exhausted=pl.col("exhausted") & (pl.col("spent") < pl.col("budget")))
    return flagged.filter("_taken").drop("_taken", "budget"), spent.sort("problem_id")


def _same_problems(candidates: pl.DataFrame, other: pl.DataFrame, name: str) -> None:
    if other["problem_id"].is_duplicated().any():
        raise ValueError(f"{name}: each problem must stand once")
    lacking = candidates.filter(~pl.col("problem_id").is_in(other["problem_id"].to_list()))
    if lacking.height:
        raise ValueError(f"{name}: none for problem_id={lacking['problem_id'][0]!r}")
