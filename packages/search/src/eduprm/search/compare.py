"""Whether two engines grew the same EDU trees, and where not, whether a tie explains it.

Two engines round differently. A tree may therefore differ where two choices are as good as equal: the two most
probable tokens (a greedy tie), second and third (a runner-up tie), two waiting forks of one entropy (an order tie),
an entropy at the threshold (a threshold tie). The first leaf that differs, in the order found, tells which; what
follows from it is not judged. Any other difference is an error of one of the engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eduprm.forest import found_leaves, leaf_paths
from eduprm.search.strategies.edu import EduSampling

COMPARED_SCHEMA = pl.Schema(
    {
        "problem_id": pl.String(),
        "tree": pl.String(),
        "verdict": pl.String(),
        "leaf": pl.Int32(),
        "gap_nats": pl.Float64(),
        "logprob_error_nats": pl.Float64(),
        "entropy_error_nats": pl.Float64(),
    }
)
"""Per tree: `same`, a tie (`greedy_tie`, `runner_up_tie`, `order_tie`, `threshold_tie`) or `different`; the leaf that
differs first, how far apart the two choices were, and the largest differences over the leaves before it."""

TopThree = Callable[[str, tuple[int, ...]], Sequence[float]]
"""Log-probs of the three most probable tokens behind a problem's prompt and so many generated tokens."""


class _Leaf(NamedTuple):
    ids: tuple[int, ...]
    logprobs: NDArray[np.float64]
    entropies: NDArray[np.float64]


def compare_forests(
    ours: pl.DataFrame,
    theirs: pl.DataFrame,
    *,
    strategy: EduSampling,
    top_three: TopThree,
    tie_nats: float = 1e-4,
) -> pl.DataFrame:
    """Compare the trees of two engines, tree by tree.

    Args:
        ours: forest of one engine.
        theirs: of the other; the same problems and trees.
        strategy: what both were grown with.
        top_three: a model's log-probs, the judge of greedy and runner-up ties.
        tie_nats: choices closer than this count as tied.

    Returns:
        One row a tree, COMPARED_SCHEMA.

    Raises:
        ValueError: the forests hold different trees.
    """
    mine, others = _leaves(ours), _leaves(theirs)
    if mine.keys() != others.keys():
        raise ValueError(
            f"expected the same trees, got {sorted(mine.keys() ^ others.keys())[:3]} in one only"
        )
    rows = [
        {
            "problem_id": key[0],
            "tree": key[1],
            **_compare(key[0], mine[key], others[key], strategy, top_three, tie_nats),
        }
        for key in mine
    ]
    return pl.DataFrame(rows, schema=COMPARED_SCHEMA)


def _leaves(forest: pl.DataFrame) -> dict[tuple[str, str], list[_Leaf]]:
    ordered = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"]).sort("order")
    found: dict[tuple[str, str], list[_Leaf]] = {}
    for row in ordered.iter_rows(named=True):
        leaf = _Leaf(tuple(row["token_ids"]), np.array(row["logprobs"]), np.array(row["entropies"]))
        found.setdefault((row["problem_id"], row["tree"]), []).append(leaf)
    return dict(sorted(found.items()))


def _compare(
    problem_id: str,
    mine: list[_Leaf],
    others: list[_Leaf],
    strategy: EduSampling,
    top_three: TopThree,
    tie_nats: float,
) -> dict[str, Any]:
    errors = {"logprob_error_nats": 0.0, "entropy_error_nats": 0.0}
    for number in range(max(len(mine), len(others))):
        a, b = (leaves[number] if number < len(leaves) else None for leaves in (mine, others))
        if a is not None and b is not None and a.ids == b.ids:
            for name, values in (
                ("logprob_error_nats", a.logprobs - b.logprobs),
                ("entropy_error_nats", a.entropies - b.entropies),
            ):
                errors[name] = max(errors[name], float(np.abs(values).max()))
            continue
        kind, gap = _explain(problem_id, number, mine, others, strategy, top_three)
        verdict = kind if gap < tie_nats else "different"
        return {"verdict": verdict, "leaf": number, "gap_nats": gap, **errors}
    return {"verdict": "same", "leaf": None, "gap_nats": None, **errors}


def _explain(
    problem_id: str,
    number: int,
    mine: list[_Leaf],
    others: list[_Leaf],
    strategy: EduSampling,
    top_three: TopThree,
) -> tuple[str, float]:
    """(kind of tie, nats between the two choices) of the first leaf that differs."""
    forks = [_fork(leaves, number) for leaves in (mine, others) if number < len(leaves)]
    if len(forks) == 2 and forks[0].place == forks[1].place:
        a, b = mine[number].ids, others[number].ids
        at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        top = top_three(problem_id, a[:at])
        if forks[0].place is not None and at == len(forks[0].place):
            return "runner_up_tie", float(top[1] - top[2])
        return "greedy_tie", float(top[0] - top[1])
    near = min(abs(fork.entropy - strategy.threshold) for fork in forks)
    apart = abs(forks[0].entropy - forks[1].entropy) if len(forks) == 2 else np.inf
    if strategy.order == "best_first" and apart <= near:
        return "order_tie", float(apart)
    return "threshold_tie", float(near)


class _Fork(NamedTuple):
    """Where a leaf left the earlier ones: the tokens before the fork (None for the greedy path), and its entropy."""

    place: tuple[int, ...] | None
    entropy: float


def _fork(leaves: list[_Leaf], number: int) -> _Fork:
    leaf = leaves[number]
    if number == 0:
        return _Fork(None, np.inf)
    at = max(_common(leaf.ids, before.ids) for before in leaves[:number])
    return _Fork(leaf.ids[:at], float(leaf.entropies[at]))


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
