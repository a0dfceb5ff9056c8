"""Bootstrap over problems: percentile intervals for means, and for differences on the same resamples.

The problem is the unit that is drawn again, so candidates and steps of one problem stay together. It knows
values per problem only, not what they mean. Two calls with the same seed and the same problems see the same
resamples: that is what makes differences paired. Seeds are hashed, so neighbouring seeds share nothing.

Percentile intervals of a mean that is exactly 0 or 1 have no width: read them with the number of problems.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

CONFIDENCE = 0.95
_CHUNK_CELLS = 4_000_000  # counts held at once: 32 MB of float64


def hashed_rng(*parts: str | int) -> np.random.Generator:
    """A generator seeded by the SHA-256 of all parts.

    Examples:
        >>> bool(hashed_rng("a", 1).random() == hashed_rng("a", 1).random() != hashed_rng("a", 2).random())
        True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def resample_counts(problem_ids: Sequence[str], *, seed: int, bootstrap: int) -> Iterator[np.ndarray]:
    """How often each problem is drawn in each of ``bootstrap`` resamples: float64 chunks [rows, problems].

    The columns follow ``problem_ids``, which must be sorted and distinct. The draw depends on the seed and
    the ids alone.

    Raises:
        ValueError: no problems, ids unsorted or doubled, or bootstrap below 1.

    Examples:
        >>> np.concatenate(list(resample_counts(["a", "b"], seed=0, bootstrap=3))).sum(axis=1).tolist()
        [2.0, 2.0, 2.0]
    """
    ids = list(problem_ids)
    if not ids:
        raise ValueError("bootstrap needs at least one problem, got none")
    if any(left >= right for left, right in pairwise(ids)):
        raise ValueError("problem_ids must be sorted and distinct")
    if bootstrap < 1:
        raise ValueError(f"bootstrap must be at least 1, got {bootstrap}")
    rng = hashed_rng("bootstrap", seed, hashlib.sha256("\x1f".join(ids).encode()).hexdigest())
    num = len(ids)
    rows_per_chunk = max(1, _CHUNK_CELLS // num)
    for start in range(0, bootstrap, rows_per_chunk):
        rows = min(rows_per_chunk, bootstrap - start)
        draws = rng.integers(0, num, size=(rows, num))
        flat = (draws + np.arange(rows)[:, None] * num).ravel()
        yield np.bincount(flat, minlength=rows * num).reshape(rows, num).astype(np.float64)


def percentile_interval(replicates: np.ndarray, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Equal-tailed percentile interval of bootstrap replicates [bootstrap]; NaN replicates are left out.

    Examples:
        >>> percentile_interval(np.arange(101.0), confidence=0.5)
        (25.0, 75.0)
    """
    finite = replicates[~np.isnan(replicates)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_intervals(
    values: np.ndarray, problem_ids: Sequence[str], *, seed: int, bootstrap: int = 2000
) -> list[tuple[float, float]]:
    """95 % intervals for the mean over problems of each column of ``values`` [problems, columns].

    All columns see the same resamples.

    Examples:
        >>> mean_intervals(np.array([[1.0, 0.0], [1.0, 1.0]]), ["a", "b"], seed=0)
        [(1.0, 1.0), (0.0, 1.0)]
    """
    chunks = [
        c @ values / len(problem_ids) for c in resample_counts(problem_ids, seed=seed, bootstrap=bootstrap)
    ]
    replicates = np.concatenate(chunks)
    return [percentile_interval(replicates[:, column]) for column in range(values.shape[1])]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Mean of (a - b) over problems with its 95 % interval, and on how many problems a was above or below."""

    difference: float
    ci_low: float
    ci_high: float
    problems: int
    wins: int
    losses: int

    @property
    def separable(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.ci_low > 0 or self.ci_high < 0


def paired_difference(
    a: pl.DataFrame, b: pl.DataFrame, *, seed: int, value: str = "correct", bootstrap: int = 2000
) -> Difference:
    """Difference of two methods on the same problems, each resample drawn once for both.

    Args:
        a: frame with problem_id (unique) and the ``value`` column (Boolean or a number), e.g. rows of
            `choose`.
        b: the other one, with the same problems.
        seed: hashed; the same seed and problems give the same resamples in every call.
        value: name of the column that is compared.
        bootstrap: number of resamples.

    Raises:
        ValueError: a problem stands twice, has no value, or stands in one frame only.

    Examples:
        >>> a = pl.DataFrame({"problem_id": ["p", "q"], "correct": [True, True]})
        >>> b = pl.DataFrame({"problem_id": ["q", "p"], "correct": [False, True]})
        >>> d = paired_difference(a, b, seed=0)
        >>> d.difference, d.wins, d.losses, d.separable
        (0.5, 1, 0, False)
    """
    left, right = (_values(frame, value) for frame in (a, b))
    ids = left["problem_id"].to_list()
    if ids != right["problem_id"].to_list():
        odd = sorted(set(ids) ^ set(right["problem_id"].to_list()))
        raise ValueError(
            f"both frames must hold the same problems, {len(odd)} stand in one only, first {odd[0]!r}"
        )
    gap = (left["value"] - right["value"]).to_numpy()
    ((low, high),) = mean_intervals(gap[:, None], ids, seed=seed, bootstrap=bootstrap)
    return Difference(
        difference=float(gap.mean()),
        ci_low=low,
        ci_high=high,
        problems=len(ids),
        wins=int((gap > 0).sum()),
        losses=int((gap < 0).sum()),
    )


def _values(frame: pl.DataFrame, value: str) -> pl.DataFrame:
    rows = frame.select("problem_id", value=pl.col(value).cast(pl.Float64)).sort("problem_id")
    if rows["problem_id"].is_duplicated().any():
        twice = rows.filter(pl.col("problem_id").is_duplicated())["problem_id"][0]
        raise ValueError(
            f"each problem must stand once, problem_id={twice!r} stands twice (filter one rule first)"
        )
    bad = rows.filter(pl.col("value").is_null() | pl.col("value").is_nan())
    if bad.height:
        raise ValueError(f"column {value!r} must hold a value, none for problem_id={bad['problem_id'][0]!r}")
    return rows
