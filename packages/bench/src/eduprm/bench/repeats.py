"""Means with intervals over problems and seeds: what an experiment of several draws is summarised by.

The bootstrap is crossed: each resample draws problems and, on its own, seeds, so an interval holds the chance of both.
Something without draws (a tree, greedy decoding) has one outcome per problem, which stands for every seed. It knows
values, not what they mean; a difference of two methods is the mean of a column of differences, paired row by row.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from eduprm.rank.bootstrap import hashed_rng, percentile_interval, resample_counts

_COLUMNS_AT_ONCE = 500


def crossed_intervals(
    values: np.ndarray, problem_ids: Sequence[str], *, seed: int, bootstrap: int = 2000
) -> list[tuple[float, float]]:
    """95 % intervals for the mean of each column of ``values`` [problems, seeds, columns].

    All columns, and all calls with the same problems, number of seeds and ``seed``, see the same resamples.

    Raises:
        ValueError: no problems or no seeds, ids unsorted or doubled, or another shape.

    Examples:
        >>> values = np.array([[[1.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]])
        >>> crossed_intervals(values, ["a", "b"], seed=0)
        [(1.0, 1.0), (0.0, 1.0)]
    """
    if values.ndim != 3 or values.shape[0] != len(problem_ids) or not values.shape[1]:
        raise ValueError(
            f"expected values of {len(problem_ids)} problems, some seeds and columns, got shape {values.shape}"
        )
    num_seeds = values.shape[1]
    by_problem = np.concatenate(list(resample_counts(problem_ids, seed=seed, bootstrap=bootstrap)))
    draws = hashed_rng("seeds", seed, num_seeds).integers(0, num_seeds, size=(bootstrap, num_seeds))
    by_seed = np.stack([np.bincount(row, minlength=num_seeds) for row in draws]).astype(np.float64)
    total = len(problem_ids) * num_seeds
    intervals = []
    for start in range(0, values.shape[2], _COLUMNS_AT_ONCE):
        part = values[:, :, start : start + _COLUMNS_AT_ONCE]
        replicates = np.zeros((bootstrap, part.shape[2]))
        for index in range(num_seeds):
            replicates += by_seed[:, index, None] * (by_problem @ part[:, index])
        intervals += [percentile_interval(column) for column in (replicates / total).T]
    return intervals


def summarise_repeats(
    outcomes: pl.DataFrame, *, by: Sequence[str], value: str = "correct", seed: int, bootstrap: int = 2000
) -> pl.DataFrame:
    """Mean of ``value`` per group, with its 95 % interval over problems and seeds.

    Args:
        outcomes: columns problem_id, seed (null: no draws, the same for every seed), ``by`` and ``value`` (a Boolean or
            a number). Each group holds every problem, once per seed or once with a null seed.
        by: what tells groups apart.
        value: the column that is averaged.
        seed: of the bootstrap, hashed.
        bootstrap: resamples.

    Returns:
        ``by``, mean, ci_low, ci_high, problems, seeds (0 without draws), and on how many problems the mean over seeds
        was above and below 0 (wins and losses, where the value is a difference). Groups in the order of the rows.

    Raises:
        ValueError: no rows, a null or NaN value, or a group that lacks a problem or a seed, or holds one twice.

    Examples:
        >>> rows = [("ht", "p", 0, True), ("ht", "q", 0, False), ("ht", "p", 1, True), ("ht", "q", 1, True),
        ...         ("edu", "p", None, True), ("edu", "q", None, False)]
        >>> frame = pl.DataFrame(rows, schema=["method", "problem_id", "seed", "correct"], orient="row")
        >>> summarise_repeats(frame, by=["method"], seed=0).select("method", "mean", "problems", "seeds").rows()
        [('ht', 0.75, 2, 2), ('edu', 0.5, 2, 0)]
    """
    ids = outcomes["problem_id"].unique().sort().to_list()
    seeds = outcomes["seed"].drop_nulls().unique().sort().to_list()
    if not ids:
        raise ValueError("no outcomes to summarise")
    groups = outcomes.group_by(list(by), maintain_order=True)
    keys, columns, drawn = [], [], []
    for key, rows in groups:
        cube = _square(rows, value, ids, seeds, key)
        keys.append(key)
        drawn.append(0 if rows["seed"].null_count() else len(seeds))
        columns.append(cube)
    values = np.stack(columns, axis=2)
    intervals = crossed_intervals(values, ids, seed=seed, bootstrap=bootstrap)
    per_problem = values.mean(axis=1)
    table = pl.DataFrame(keys, schema={name: outcomes.schema[name] for name in by}, orient="row")
    return table.with_columns(
        mean=pl.Series(values.mean(axis=(0, 1))),
        ci_low=pl.Series([low for low, _ in intervals]),
        ci_high=pl.Series([high for _, high in intervals]),
        problems=pl.lit(len(ids), dtype=pl.Int32),
        seeds=pl.Series(drawn, dtype=pl.Int32),
        wins=pl.Series((per_problem > 0).sum(axis=0), dtype=pl.Int32),
        losses=pl.Series((per_problem < 0).sum(axis=0), dtype=pl.Int32),
    )


def _square(
    rows: pl.DataFrame, value: str, ids: list[str], seeds: list[int], key: tuple[object, ...]
) -> np.ndarray:
    """Values [problems, seeds] of one group; without draws, the same in every column."""
    wanted: list[int | None] = [None] if rows["seed"].null_count() == rows.height else list(seeds)
    ordered = rows.select("seed", "problem_id", value=pl.col(value).cast(pl.Float64)).sort(
        "seed", "problem_id"
    )
    expected = [(one, name) for one in wanted for name in ids]
    if list(ordered.select("seed", "problem_id").iter_rows()) != expected:
        raise ValueError(
            f"group {key}: expected each of {len(ids)} problems once for each of {len(wanted)} seeds, "
            f"got {ordered.height} rows"
        )
    found = ordered["value"].to_numpy().reshape(len(wanted), len(ids)).T
    if np.isnan(found).any():
        raise ValueError(f"group {key}: expected a value in every row of {value!r}, got none in some")
    return np.repeat(found, max(len(seeds), 1), axis=1) if wanted == [None] else found
