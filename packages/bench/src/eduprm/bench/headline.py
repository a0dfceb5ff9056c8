"""The few rows by which a run is judged, for all held-out problems and for each group of them (a task, say).

A PRM's figure means little alone: it stands beside what the policy's own likelihood picks from the same trees, the
majority, the best there is (any right), samples by the same PRM, greedy decoding, and greedy decoding by the trained
model itself, where it is a language model: training at forks teaches the policy too.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from eduprm.rank.bootstrap import mean_intervals
from eduprm.rank.candidates import require_gold, validate_candidates
from eduprm.rank.selection import choose

HEADLINE_SCHEMA = pl.Schema(
    {
        "group": pl.String(),
        "row": pl.String(),
        "accuracy": pl.Float64(),
        "ci_low": pl.Float64(),
        "ci_high": pl.Float64(),
        "minus_greedy": pl.Float64(),
        "minus_low": pl.Float64(),
        "minus_high": pl.Float64(),
        "problems": pl.Int64(),
    }
)
"""What `headline` returns; accuracies and differences are shares, intervals 95 % by bootstrap over problems."""

ALL = "all"


def least_logprob_scores(leaves: pl.DataFrame) -> pl.DataFrame:
    """The policy's own likelihood as step scores: exp of the least log-prob of a path, one "step" a leaf.

    Args:
        leaves: `eduprm.forest.leaf_paths`.

    Returns:
        problem_id, tree, leaf, step_scores.

    Examples:
        >>> leaves = pl.DataFrame({"problem_id": ["p"], "tree": ["edu"], "leaf": [0], "logprobs": [[-0.5, 0.0]]})
        >>> least_logprob_scores(leaves)["step_scores"].list.first().round(3).to_list()
        [0.607]
    """
    least = pl.col("logprobs").cast(pl.List(pl.Float64)).list.min().exp()
    return leaves.select("problem_id", "tree", "leaf", step_scores=pl.concat_list(least))


def headline(
    chosen: Mapping[str, pl.DataFrame],
    *,
    greedy: str,
    groups: Mapping[str, str] | None = None,
    seed: int,
    bootstrap: int = 2000,
) -> pl.DataFrame:
    """Accuracy of each row, and its paired difference to the row `greedy`, over all problems and by group.

    Args:
        chosen: per row, which problems it got right: problem_id and correct (bool), the same problems in every row.
        greedy: the row that the others are compared with.
        groups: problem_id to group; None or a single group: only the row of all.
        seed: of the bootstrap, hashed; resamples are the same for all rows.
        bootstrap: resamples.

    Raises:
        ValueError: rows of different problems, nulls, or no row `greedy`.

    Examples:
        >>> right = pl.DataFrame({"problem_id": ["a", "b"], "correct": [True, True]})
        >>> half = pl.DataFrame({"problem_id": ["a", "b"], "correct": [True, False]})
        >>> headline({"PRM": right, "greedy": half}, greedy="greedy", seed=0).select("row", "minus_greedy").rows()
        [('PRM', 0.5), ('greedy', 0.0)]
    """
    if greedy not in chosen:
        raise ValueError(f"expected a row {greedy!r}, got {list(chosen)}")
    wide = chosen[greedy].select("problem_id").sort("problem_id")
    for name, rows in chosen.items():
        if set(rows["problem_id"]) != set(wide["problem_id"]):
            raise ValueError(f"expected row {name!r} to hold the problems of row {greedy!r}")
        if rows["correct"].null_count():
            raise ValueError(f"expected row {name!r} to say of every problem whether it is right, got null")
        wide = wide.join(
            rows.select("problem_id", pl.col("correct").cast(pl.Float64).alias(name)), on="problem_id"
        )
    wide = wide.sort("problem_id")  # joins promise no order
    named = sorted(set((groups or {}).values()))
    parts: list[tuple[str, pl.DataFrame]] = [(ALL, wide)]
    if groups is not None and len(named) > 1:
        group = pl.col("problem_id").replace_strict(groups, default=None, return_dtype=pl.String)
        parts += [(name, own) for name in named if (own := wide.filter(group == name)).height]
    found = [row for name, own in parts for row in _rows(name, own, greedy, seed=seed, bootstrap=bootstrap)]
    return pl.DataFrame(found, schema=HEADLINE_SCHEMA)


def _rows(group: str, wide: pl.DataFrame, greedy: str, *, seed: int, bootstrap: int) -> list[dict[str, Any]]:
    names = [name for name in wide.columns if name != "problem_id"]
    values = wide.select(names).to_numpy()
    ids = wide["problem_id"].to_list()
    gaps = values - values[:, [names.index(greedy)]]
    own = mean_intervals(values, ids, seed=seed, bootstrap=bootstrap)
    minus = mean_intervals(gaps, ids, seed=seed, bootstrap=bootstrap)
    return [
        {
            "group": group,
            "row": name,
            "accuracy": float(values[:, k].mean()),
            "ci_low": own[k][0],
            "ci_high": own[k][1],
            "minus_greedy": float(gaps[:, k].mean()),
            "minus_low": minus[k][0],
            "minus_high": minus[k][1],
            "problems": len(ids),
        }
        for k, name in enumerate(names)
    ]


def chosen_by(candidates: pl.DataFrame, rule: str) -> pl.DataFrame:
    """Which problems a rule gets right: problem_id, correct.

    Raises:
        CandidateError: broken input, or a rule that lacks what it needs.
    """
    return choose(require_gold(validate_candidates(candidates)), rules=[rule]).select("problem_id", "correct")
