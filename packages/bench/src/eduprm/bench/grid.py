"""Many ways of sampling side by side: what each would have chosen, at every number of candidates, seed by seed.

A *setting* is a way of sampling (EDU at a threshold, samples at a temperature); with a seed, where it draws, it is
what `eduprm.bench.choose` sees as problems of their own, so that all settings go through one call.
"""

from collections.abc import Sequence

import polars as pl

from eduprm.bench.equal import equal_tokens
from eduprm.rank.candidates import CANDIDATE_SCHEMA, ORDER_DTYPE
from eduprm.rank.selection import choose

GRID_SCHEMA: dict[str, pl.DataType] = {
    "setting": pl.String(),
    "seed": pl.Int64(),
    **CANDIDATE_SCHEMA,
    "order": ORDER_DTYPE,
}
"""Candidates of many settings; seed is null where nothing was drawn."""

OUTCOME_SCHEMA: dict[str, pl.DataType] = {
    "setting": pl.String(),
    "seed": pl.Int64(),
    "n": pl.Int32(),
    "rule": pl.String(),
    "problem_id": pl.String(),
    "correct": pl.Float64(),
    "tied": pl.Boolean(),
}
"""What `grid_outcomes` gives: whether the rule's choice among the first n candidates was right."""

_UNIT = ["setting", "seed", "problem_id"]


def grid_outcomes(candidates: pl.DataFrame, *, ns: Sequence[int], rules: Sequence[str]) -> pl.DataFrame:
    """Let every rule choose in every setting, at every n.

    Args:
        candidates: `GRID_SCHEMA`. A problem needs at least one candidate in each setting.
        ns: numbers of candidates, in ``order``; a problem with fewer uses what it has.
        rules: names out of `RULES`; not "greedy" (give greedy solutions a setting of their own).

    Returns:
        A frame of `OUTCOME_SCHEMA`.

    Raises:
        CandidateError: broken candidates, or a rule lacks what it needs.
        ValueError: an unknown rule, or an n below 1.

    Examples:
        >>> leaves = [(1, "4", True, -1.5), (2, "5", False, -0.5)]
        >>> rows = [("ht", 0, "p", "ht", leaf, answer, right, logprob, 6, None, leaf)
        ...         for leaf, answer, right, logprob in leaves]
        >>> frame = pl.DataFrame(rows, schema=GRID_SCHEMA, orient="row")
        >>> grid_outcomes(frame, ns=[1, 2], rules=["mean_logprob"]).select("setting", "n", "correct").rows()
        [('ht', 1, 1.0), ('ht', 2, 0.0)]
    """
    keyed, units = _as_problems(candidates, _UNIT)
    frames = []
    for n in ns:
        chosen = choose(keyed, rules=rules, n=n).select("rule", "problem_id", "correct", "tied")
        found = chosen.join(units, left_on="problem_id", right_on="unit", maintain_order="left")
        frames.append(
            found.select(
                "setting",
                "seed",
                pl.lit(n).alias("n"),
                "rule",
                pl.col("problem_id_right").alias("problem_id"),
                "correct",
                "tied",
            ).cast(pl.Schema(OUTCOME_SCHEMA))
        )
    return pl.concat(frames) if frames else pl.DataFrame(schema=OUTCOME_SCHEMA)


def equal_token_candidates(
    samples: pl.DataFrame, budgets: pl.DataFrame, *, greedy: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """For each setting of independent samples, those that the tokens of other settings would have paid for.

    Samples alone may take the one that crosses the budget, which favours them; behind a greedy solution, which is paid
    first, it is left out (see `eduprm.bench.equal_tokens`).

    Args:
        samples: `GRID_SCHEMA`, settings of independent samples.
        budgets: setting, n, problem_id, decoded: tokens that a setting spent on a problem with n candidates.
        greedy: `GRID_SCHEMA`, one greedy solution per problem; None for samples alone.

    Returns:
        Candidates of `GRID_SCHEMA` with two columns in front, edu (the budget's setting) and edu_n; and per edu, edu_n,
        setting, seed and problem_id what was spent, and whether the samples were exhausted.

    Raises:
        ValueError: a problem without a budget or a greedy solution; broken candidates.

    Examples:
        >>> rows = [("ht", 0, "p", "ht", leaf, "4", True, -1.5, 6, None, leaf) for leaf in (1, 2, 3)]
        >>> frame = pl.DataFrame(rows, schema=GRID_SCHEMA, orient="row")
        >>> budgets = pl.DataFrame({"setting": ["edu"], "n": [4], "problem_id": ["p"], "decoded": [13]})
        >>> kept, spent = equal_token_candidates(frame, budgets)
        >>> kept.height, spent["spent"].to_list()
        (3, [18])
    """
    wanted = budgets.select(
        pl.col("setting").alias("edu"), pl.col("n").alias("edu_n"), "problem_id", "decoded"
    )
    crossed = wanted.join(samples, on="problem_id", maintain_order="left")
    keys = ["edu", "edu_n", *_UNIT]
    keyed, units = _as_problems(crossed, keys)
    first = None
    if greedy is not None:
        own = greedy.drop("setting", "seed")
        first, _ = _as_problems(
            crossed.select(keys).unique(maintain_order=True).join(own, on="problem_id"), keys
        )
    limits = crossed.select(*keys, "decoded").unique(keys, maintain_order=True)
    limits = limits.select(problem_id=_unit_name(keys), decoded="decoded")
    kept, spent = equal_tokens(keyed, limits, greedy=first, crossing="keep" if greedy is None else "drop")
    named = [
        frame.rename({"problem_id": "unit"}).join(units, on="unit", maintain_order="left").drop("unit")
        for frame in (kept, spent)
    ]
    return named[0].select("edu", "edu_n", *GRID_SCHEMA), named[1]


def _unit_name(keys: Sequence[str]) -> pl.Expr:
    return pl.concat_str([pl.col(key).cast(pl.String).fill_null("") for key in keys], separator="\x1f")


def _as_problems(frame: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The candidates with a problem_id that names all keys, and what each such name stands for."""
    named = frame.with_columns(unit=_unit_name(keys))
    units = named.select("unit", *keys).unique("unit", maintain_order=True)
    columns = [*CANDIDATE_SCHEMA, "order"]
    return named.with_columns(problem_id=pl.col("unit")).select(columns), units
