"""How well scores in [0, 1] tell right from wrong: AUC (overall, within a problem), Brier, ECE, reliability.

It takes scores and gold labels, of steps or of leaves, and knows nothing of where they come from. AUC over all
rows mostly measures which *problems* are easy; choosing among one problem's candidates needs AUC within a problem.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from eduprm.bench.smooth_ece import residual_mass, smooth_calibration_error, smooth_errors
from eduprm.rank.bootstrap import percentile_interval, resample_counts

NUM_BINS = 10
_CHUNK_CELLS = 4_000_000  # row weights held at once: 32 MB of float64

METRIC_SCHEMA: dict[str, pl.DataType] = {
    "metric": pl.String(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "problems": pl.Int32(),
    "rows": pl.Int32(),
}
"""Columns of what `score_metrics` gives back."""


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Chance that a right row scores above a wrong one, ties counting half; NaN with one class only.

    Args:
        scores: numbers [rows].
        labels: truth values [rows].

    Raises:
        ValueError: lengths differ, a score is NaN, or a label is neither true nor false.

    Examples:
        >>> auc([0.1, 0.4, 0.4, 0.9], [False, False, True, True])
        0.875
    """
    values, right = _checked(scores, labels)
    return float(_weighted_auc(values, right, np.ones(len(values))))


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(scores, dtype=np.float64)
    given = np.asarray(labels)
    right = given == 1  # a null or a text is neither right nor wrong
    if not np.all(right | (given == 0)):
        raise ValueError("labels must be true or false in every row")
    if values.ndim != 1 or values.shape != right.shape:
        raise ValueError(f"scores and labels must be of one length, got {values.shape} and {right.shape}")
    if np.isnan(values).any():
        raise ValueError("scores must not be NaN")
    return values, right


def _weighted_auc(values: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of ``weights`` [..., rows]."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0]) if len(values) else np.zeros(0, dtype=int)
    if not len(starts):
        return np.full(weights.shape[:-1], np.nan)
    ordered = weights[..., order]
    positive = np.add.reduceat(ordered * right[order], starts, axis=-1)
    negative = np.add.reduceat(ordered * ~right[order], starts, axis=-1)
    below = np.cumsum(negative, axis=-1) - negative
    pairs = positive.sum(axis=-1) * negative.sum(axis=-1)
    wins = (positive * (below + 0.5 * negative)).sum(axis=-1)
    return np.divide(wins, pairs, out=np.full_like(wins, np.nan, dtype=np.float64), where=pairs > 0)


def auc_within(frame: pl.DataFrame, *, score: str = "score", gold: str = "gold") -> pl.DataFrame:
    """AUC of each problem that has both right and wrong rows: ``problem_id``, ``auc``, ``rows``, sorted.

    Its mean over problems is the AUC within a problem.

    Examples:
        >>> rows = [("p", 0.2, False), ("p", 0.7, True), ("q", 0.9, True)]
        >>> frame = pl.DataFrame(rows, schema=["problem_id", "score", "gold"], orient="row")
        >>> auc_within(frame).rows()
        [('p', 1.0, 2)]
    """
    rows = [
        (str(problem_id), auc(group[score].to_numpy(), group[gold].to_numpy()), group.height)
        for (problem_id,), group in frame.sort("problem_id").group_by(["problem_id"], maintain_order=True)
    ]
    schema = {"problem_id": pl.String, "auc": pl.Float64, "rows": pl.Int32}
    return pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("auc").is_not_nan())


def brier(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean squared distance of the score from the label (0 or 1); NaN without rows.

    Examples:
        >>> brier([0.5, 1.0], [True, True])
        0.125
    """
    values, right = _checked(scores, labels)
    return float(np.mean((values - right) ** 2)) if len(values) else float("nan")


def reliability(scores: npt.ArrayLike, labels: npt.ArrayLike, *, num_bins: int = NUM_BINS) -> pl.DataFrame:
    """Mean score and share of right rows per bin of equal width: columns bin, low, high, rows, score, right.

    Bin k holds scores in (k / bins, (k + 1) / bins], the first one 0 too. Empty bins are left out.

    Raises:
        ValueError: a score lies outside [0, 1].

    Examples:
        >>> reliability([0.1, 0.9, 0.95], [False, True, False], num_bins=2).select("rows", "right").rows()
        [(1, 0.0), (2, 0.5)]
    """
    values, right = _checked(scores, labels)
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise ValueError(f"scores must lie in [0, 1], got {values.min()} to {values.max()}")
    frame = pl.DataFrame({"bin": _bins(values, num_bins), "score": values, "right": right})
    means = frame.group_by("bin").agg(
        rows=pl.len(), score=pl.col("score").mean(), right=pl.col("right").mean()
    )
    edges = means.sort("bin").with_columns(low=pl.col("bin") / num_bins, high=(pl.col("bin") + 1) / num_bins)
    return edges.select("bin", "low", "high", "rows", "score", "right")


def _bins(values: np.ndarray, num_bins: int) -> np.ndarray:
    return np.clip(np.ceil(values * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


def expected_calibration_error(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, num_bins: int = NUM_BINS
) -> float:
    """Mean over rows of the gap between score and share of right rows in their bin; NaN without rows.

    Examples:
        >>> expected_calibration_error([0.75, 0.75], [True, False])
        0.25
    """
    return _ece(reliability(scores, labels, num_bins=num_bins))


def _ece(bins: pl.DataFrame) -> float:
    rows = bins["rows"].to_numpy()
    gap = np.abs(bins["score"].to_numpy() - bins["right"].to_numpy())
    return float((gap * rows).sum() / rows.sum()) if len(rows) else float("nan")


def score_metrics(
    frame: pl.DataFrame,
    *,
    seed: int,
    score: str = "score",
    gold: str = "gold",
    bootstrap: int = 2000,
    num_bins: int = NUM_BINS,
) -> pl.DataFrame:
    """All metrics with 95 % bootstrap intervals over problems: auc, auc_within, brier, ece, smooth_ece.

    Args:
        frame: one row per step or leaf, with problem_id, a score in [0, 1] and a gold label (Boolean).
        seed: hashed; equal seeds give equal resamples on the same problems.
        score: name of the score column.
        gold: name of the label column.
        bootstrap: number of resamples.
        num_bins: bins of the calibration error.

    Returns:
        A frame of `METRIC_SCHEMA`; ``problems`` counts those that entered the metric (for auc_within: those with
        both classes). A metric that is not defined (one class only) is NaN.

    Raises:
        ValueError: no rows, nulls, or scores outside [0, 1].

    Examples:
        >>> rows = [("p", 0.2, False), ("p", 0.7, True), ("q", 0.9, True)]
        >>> frame = pl.DataFrame(rows, schema=["problem_id", "score", "gold"], orient="row")
        >>> score_metrics(frame, seed=0, bootstrap=50)["metric"].to_list()
        ['auc', 'auc_within', 'brier', 'ece', 'smooth_ece']
    """
    rows = frame.select("problem_id", score=pl.col(score).cast(pl.Float64), gold=pl.col(gold)).sort(
        "problem_id"
    )
    if not rows.height or rows.select(pl.all().null_count().sum()).sum_horizontal().item():
        raise ValueError(f"columns problem_id, {score!r} and {gold!r} must hold values, got none or nulls")
    values, right = _checked(rows["score"].to_numpy(), rows["gold"].to_numpy())
    bins = reliability(values, right, num_bins=num_bins)  # refuses scores outside [0, 1]
    within = auc_within(rows)
    observed = {
        "auc": auc(values, right),
        "auc_within": float(np.mean(within["auc"].to_numpy())) if within.height else float("nan"),
        "brier": brier(values, right),
        "ece": _ece(bins),
        "smooth_ece": smooth_calibration_error(values, right),
    }
    ids = rows["problem_id"].unique().sort()
    per_problem = ids.to_frame().join(within, on="problem_id", how="left", maintain_order="left")["auc"]
    owner = rows["problem_id"].rle_id().to_numpy()
    counts = resample_counts(ids.to_list(), seed=seed, bootstrap=bootstrap)
    replicates = _replicates(counts, owner, values, right, per_problem.to_numpy(), num_bins)
    table = [(name, value, *percentile_interval(replicates[name])) for name, value in observed.items()]
    used = [(within.height, int(within["rows"].sum())) if name == "auc_within" else None for name in observed]
    return pl.DataFrame(
        [row + (size or (len(ids), rows.height)) for row, size in zip(table, used, strict=True)],
        schema=METRIC_SCHEMA,
        orient="row",
    )


def _replicates(
    resamples: Iterable[np.ndarray],
    owner: np.ndarray,
    values: np.ndarray,
    right: np.ndarray,
    per_problem: np.ndarray,
    num_bins: int,
) -> dict[str, np.ndarray]:
    """Every metric under every resample; ``owner`` [rows] is the column of a row's problem in the counts."""
    names = ("auc", "auc_within", "brier", "ece", "smooth_ece")
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    mass = residual_mass(values, right, owner)
    gap = values - right
    one_hot = np.eye(num_bins)[_bins(values, num_bins)]
    for counts in resamples:
        for part in np.array_split(counts, counts.shape[0] * len(values) // _CHUNK_CELLS + 1):
            weights = part[:, owner]
            total = weights.sum(axis=1)
            found["auc"].append(_weighted_auc(values, right, weights))
            found["auc_within"].append(_weighted_mean(part, per_problem))
            found["brier"].append(weights @ gap**2 / total)
            found["ece"].append(np.abs((weights * gap) @ one_hot).sum(axis=1) / total)
            found["smooth_ece"].append(smooth_errors(part @ mass / total[:, None]))
    return {name: np.concatenate(chunks) for name, chunks in found.items()}


def _weighted_mean(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    total = counts[:, known].sum(axis=1)
    sums = counts[:, known] @ values[known]
    return np.divide(sums, total, out=np.full(len(sums), np.nan), where=total > 0)
