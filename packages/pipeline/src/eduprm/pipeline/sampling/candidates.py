"""Candidates and tokens of grown, graded and scored trees, setting by setting: what `eduprm.bench.grid` compares."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eduprm import forest
from eduprm.bench import token_cost
from eduprm.bench.grid import GRID_SCHEMA
from eduprm.forest import leaf_paths
from eduprm.pipeline.sampling.grow import Setting, Trees
from eduprm.rank import candidates_from_leaves
from eduprm.search import leaves_at_threshold
from eduprm.search.steps import steps_of_leaves

TOKEN_SCHEMA: dict[str, pl.DataType] = {
    "setting": pl.String(),
    "seed": pl.Int64(),
    "n": pl.Int32(),
    "problem_id": pl.String(),
    "leaves": pl.Int32(),
    "decoded": pl.Int64(),
    "distinct": pl.Int64(),
    "path": pl.Int64(),
    "seconds": pl.Float64(),
}
"""Per problem what the first n solutions took: tokens decoded (stopped branches too), distinct ones, wall-clock of the
policy where these n are what was grown (null where they are the beginning of something larger)."""

_KEYS = ["problem_id", "tree", "leaf"]


def found_leaves(setting: Setting, trees: Trees) -> pl.DataFrame:
    """Leaves of a setting: problem_id, tree, leaf, order (all), place (among finished ones; null if stopped).

    A best-first tree grown at a lower threshold is cut to the leaves of the setting's own.
    """
    steps = trees.tables["steps"]
    leaves = forest.found_leaves(steps).join(
        leaf_paths(steps).select(*_KEYS, "finish"), on=_KEYS, maintain_order="left"
    )
    if setting.family == "EDU" and setting.order == "best_first" and setting.threshold is not None:
        most = leaves_at_threshold(steps, threshold=setting.threshold)
        leaves = leaves.join(most, on=["problem_id", "tree"]).filter(pl.col("order") < pl.col("leaves"))
    if setting.family == "greedy":
        leaves = leaves.filter("greedy")
    done = (pl.col("finish") != "pruned").cast(pl.Int32)
    place = done.cum_sum().over("problem_id", order_by="order") - 1
    return leaves.select(*_KEYS, "order", place=pl.when(pl.col("finish") != "pruned").then(place)).sort(
        "problem_id", "order"
    )


def setting_candidates(
    setting: Setting,
    trees: Trees,
    *,
    seed: int | None,
    steps: pl.DataFrame | None = None,
    rule: str = "anchor",
) -> pl.DataFrame:
    """GRID_SCHEMA rows of a setting; `steps` with a column score gives them step scores by a rule of cutting."""
    own = found_leaves(setting, trees).filter(pl.col("place").is_not_null())
    leaves = leaf_paths(trees.tables["steps"]).join(
        own.select(_KEYS), on=_KEYS, how="semi", maintain_order="left"
    )
    scores = None
    if steps is not None:
        scores = steps_of_leaves(steps, rule, "score").rename({"step_values": "step_scores"})
    frame = candidates_from_leaves(
        leaves,
        trees.tables["grades"],
        step_scores=scores,
        order=own.select(*_KEYS, order="place"),
    )
    named = frame.with_columns(setting=pl.lit(setting.name), seed=pl.lit(seed, dtype=pl.Int64))
    return named.select(list(GRID_SCHEMA)).cast(pl.Schema(GRID_SCHEMA))


def distinct_tokens(setting: Setting, trees: Trees, *, seed: int | None) -> pl.DataFrame:
    """setting, seed, problem_id, order, num_tokens: distinct tokens that each solution adds to those before it."""
    most = found_leaves(setting, trees)["place"].max()
    ns = range(1, (most if isinstance(most, int) else 0) + 2)
    sizes = setting_tokens(setting, trees, seed=seed, ns=ns).filter(pl.col("leaves") == pl.col("n"))
    before = pl.col("distinct").shift(1, fill_value=0).over("problem_id", order_by="n")
    return sizes.select(
        "setting", "seed", "problem_id", order=pl.col("n") - 1, num_tokens=pl.col("distinct") - before
    )


def setting_tokens(setting: Setting, trees: Trees, *, seed: int | None, ns: Sequence[int]) -> pl.DataFrame:
    """TOKEN_SCHEMA rows of a setting at each n."""
    leaves = found_leaves(setting, trees)
    steps = trees.tables["steps"]
    order = forest.found_leaves(steps)
    most = max(leaves["order"].to_list(), default=0) + 1
    cost = token_cost(steps, ns=range(1, most + 1), order=order)
    seconds = trees.tables["costs"].select("problem_id", "seconds")
    frames = []
    for n in ns:
        # Leaves found until the n-th finished one; all of them where there are fewer.
        reached = leaves.group_by("problem_id").agg(
            at=pl.col("order").filter(pl.col("place") == n - 1).max().fill_null(pl.col("order").max()) + 1,
            leaves=pl.col("place").filter(pl.col("place") < n).len(),
        )
        rows = reached.join(
            cost.drop("leaves", "tree"), left_on=["problem_id", "at"], right_on=["problem_id", "n"]
        )
        frames.append(rows.with_columns(n=pl.lit(n)))
    whole = setting.family in ("samples", "P-EDU") or setting.grown.endswith(f"-{setting.threshold:.6g}")
    at_most = pl.col("seconds") if whole else pl.lit(None)
    table = pl.concat(frames).join(seconds, on="problem_id", how="left", maintain_order="left")
    table = table.with_columns(
        setting=pl.lit(setting.name),
        seed=pl.lit(seed, dtype=pl.Int64),
        seconds=pl.when(pl.col("n") == max(ns)).then(at_most),
    )
    return table.select(list(TOKEN_SCHEMA)).cast(pl.Schema(TOKEN_SCHEMA)).sort("n", "problem_id")
