"""Rollouts: complete chains from the ends of their steps, and say how often that ends in a right answer.

A prefix that several chains share is completed once.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from eduprm.core.seeds import derive_seed
from eduprm.core.store import content_hash
from eduprm.forest import leaf_paths
from eduprm.label import grade_frame
from eduprm.pipeline.sampling.experiment import Experiment
from eduprm.pipeline.sampling.grow import grown
from eduprm.search import HighTemperature
from eduprm.search.steps import step_ends

StepKey = tuple[str, int]
"""Problem and node at whose end a step ends."""

_PREFIX = pl.Schema(
    {
        "problem_id": pl.String(),
        "prompt_token_ids": pl.List(pl.Int32()),
        "answer": pl.String(),
        "metadata": pl.String(),
    }
)


def rollout_shares(
    experiment: Experiment, chains: pl.DataFrame, rule: str
) -> tuple[dict[StepKey, float], int]:
    """Share of right completions at the end of each step that is not the last.

    Args:
        experiment: the run.
        chains: marked nodes of chains, one tree a problem, node ids its own.
        rule: whose steps.

    Returns:
        The shares, and the tokens decoded for them.
    """
    prefixes = _prefixes(chains, rule)
    wanted, grid = experiment.settings.training, experiment.settings.grid
    unique: dict[tuple[str, tuple[int, ...]], str] = {
        key: f"{key[0]}/{content_hash(list(key[1]))}" for key in dict.fromkeys(prefixes.values())
    }
    by_problem: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for (problem, ids), name in unique.items():
        by_problem.setdefault(problem, []).append((ids, name))
    shares: dict[str, float] = {}
    tokens = 0
    strategy = HighTemperature(
        threshold=wanted.threshold,
        temperature=wanted.temperature,
        num_samples=wanted.rollouts,
        max_tokens_per_path=grid.max_tokens_per_path,
        seed=derive_seed(experiment.settings.seed, "rollouts"),
    )
    for number, shard in enumerate(experiment.shards("train")):
        rows, starts = _shard_rows(shard, by_problem)
        if not rows.height:
            continue
        name = f"train-rollouts-{rule}-{number:04}"
        trees = grown(experiment, name, rows, strategy, strategy.model_dump(mode="json"))
        tokens += int(trees.tables["forest"]["token_ids"].list.len().sum())
        whole = [
            experiment.tokenizer.decode([*starts[key], *ids])
            for key, ids in leaf_paths(trees.tables["forest"]).select("problem_id", "token_ids").iter_rows()
        ]
        texts = leaf_paths(trees.tables["forest"]).select("problem_id").with_columns(text=pl.Series(whole))
        graded = grade_frame(texts, rows, experiment.grader)
        shares |= dict(graded.group_by("problem_id").agg(pl.col("correct").mean()).iter_rows())
    return {key: shares[unique[prefix]] for key, prefix in prefixes.items()}, tokens


def _prefixes(chains: pl.DataFrame, rule: str) -> dict[StepKey, tuple[str, tuple[int, ...]]]:
    """Problem and solution tokens up to the end of each step that is not the last."""
    found: dict[StepKey, tuple[str, tuple[int, ...]]] = {}
    ends = step_ends(chains, rule).to_list()
    path: tuple[int, ...] = ()
    for end, row in zip(ends, chains.iter_rows(named=True), strict=True):
        path = tuple(row["token_ids"]) if row["parent_id"] in (None, 0) else (*path, *row["token_ids"])
        if end and row["finish"] is None:
            found[row["problem_id"], row["node_id"]] = (row["problem_id"], path)
    return found


def _shard_rows(
    shard: pl.DataFrame, by_problem: dict[str, list[tuple[tuple[int, ...], str]]]
) -> tuple[pl.DataFrame, dict[str, tuple[int, ...]]]:
    """The prefixes of some problems as problems of their own, and the solution tokens that each begins with."""
    rows: list[dict[str, Any]] = []
    starts = {}
    for problem in shard.iter_rows(named=True):
        for ids, name in by_problem.get(problem["problem_id"], []):
            prompt = [*problem["prompt_token_ids"], *ids]
            rows.append({**problem, "problem_id": name, "prompt_token_ids": prompt})
            starts[name] = ids
    frame = pl.DataFrame(rows, schema=shard.schema) if rows else pl.DataFrame(schema=_PREFIX)
    return frame, starts
