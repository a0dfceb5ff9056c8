"""Grow what the experiment compares, shard by shard, and cut it into the steps of every kind.

A *setting* names a way of sampling. Best-first trees are grown once, at the lowest threshold; those of higher ones and
of fewer solutions are their first leaves. Every shard starts from an engine without held prefixes, so it depends on
its own problems alone. Wall-clock is that of the shard, shared out among its trees.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from eduprm.core.progress import say
from eduprm.core.seeds import derive_seed
from eduprm.core.store import content_hash
from eduprm.forest.tables import Tables, stored_tables
from eduprm.pipeline.growing import grow_shard
from eduprm.pipeline.label_trees import grade_trees
from eduprm.pipeline.sampling.experiment import Experiment
from eduprm.pipeline.sampling.settings import GridSettings, SamplingSettings
from eduprm.search import Budget, CutRule, EduSampling, HighTemperature, PrunedEdu, Strategy
from eduprm.search.grow import Job
from eduprm.search.steps import CutAt, mark_steps


class Setting(NamedTuple):
    """A way of sampling, and the name of the trees that hold its solutions.

    Attributes:
        name: as tables show it.
        family: EDU, P-EDU, samples or greedy.
        order: which fork is taken next; None without forks.
        threshold: nats; None without forks.
        temperature: of samples; None without draws.
        grown: name of what is grown for it; several settings may share it.
    """

    name: str
    family: str
    order: str | None
    threshold: float | None
    temperature: float | None
    grown: str


class Trees(NamedTuple):
    """Tables of some problems' trees, and the hash of all that decides them."""

    name: str
    key: str
    tables: Tables


def edu_settings(grid: GridSettings, calibrated: Mapping[float, float]) -> list[Setting]:
    """EDU sampling at every threshold, the calibrated ones included, in every order."""
    named = {f"{t:g}": t for t in grid.thresholds}
    named |= {f"{t:.3g} (calibrated to {a:g})": t for a, t in calibrated.items()}
    lowest = min(named.values())
    found = []
    for order in grid.orders:
        for name, threshold in named.items():
            grown = f"edu-{order}-{lowest if order == 'best_first' else threshold:.6g}"
            found.append(Setting(f"EDU {order} {name}", "EDU", order, threshold, None, grown))
    return found


def pruned_settings(grid: GridSettings) -> list[Setting]:
    """P-EDU at its thresholds, best-first."""
    return [
        Setting(f"P-EDU best_first {t:g}", "P-EDU", "best_first", t, None, f"pruned-best_first-{t:.6g}")
        for t in grid.pruned_thresholds
    ]


def sample_settings(grid: GridSettings) -> list[Setting]:
    """Independent samples at every temperature."""
    return [
        Setting(f"samples T={t:g}", "samples", None, None, t, f"samples-{t:.6g}") for t in grid.temperatures
    ]


def strategy_of(setting: Setting, settings: SamplingSettings, *, draw: int = 0) -> Strategy:
    """What grows a setting that is not pruned: its trees cut at the steps of the PRM edu."""
    grid, cut = settings.grid, CutRule(threshold=settings.training.threshold)
    if setting.temperature is not None:
        return HighTemperature(
            threshold=cut.threshold,
            temperature=setting.temperature,
            num_samples=grid.max_leaves,
            max_tokens_per_path=grid.max_tokens_per_path,
            seed=derive_seed(settings.seed, "draw", draw),
        )
    return CutAt(_edu(setting, grid, float(setting.grown.rpartition("-")[2])), cut)


def pruned_strategy(setting: Setting, settings: SamplingSettings, scorer: Any) -> Strategy:
    """What grows a P-EDU setting."""
    assert setting.threshold is not None
    grid = settings.grid
    pruned = PrunedEdu(
        **dict(_edu(setting, grid, setting.threshold)),
        scorer=scorer,
        stop_quantile=grid.stop_quantile,
        piece_tokens=grid.piece_tokens,
    )
    return CutAt(pruned, CutRule(threshold=settings.training.threshold))


def _edu(setting: Setting, grid: GridSettings, threshold: float) -> EduSampling:
    budget = Budget(max_leaves=grid.max_leaves, max_tokens_per_path=grid.max_tokens_per_path)
    order = "best_first" if setting.order == "best_first" else "chronological"
    return EduSampling(threshold=threshold, order=order, budget=budget)


def grown(
    experiment: Experiment, name: str, problems: pl.DataFrame, strategy: Strategy, key: Mapping[str, Any]
) -> Trees:
    """Trees of some problems: tables `forest`, `costs` (with seconds), `rejected`.

    Args:
        experiment: the run.
        name: of what is grown.
        problems: a shard.
        strategy: what is grown.
        key: everything that decides the strategy.
    """
    whole = {**experiment.policy_key, "problems": experiment.problems_key(problems), "strategy": dict(key)}
    made = stored_tables(
        experiment.store, "trees", name, whole, lambda: _grow(experiment, name, problems, strategy)
    )
    return Trees(name, content_hash(whole), made)


def _grow(experiment: Experiment, name: str, problems: pl.DataFrame, strategy: Strategy) -> Tables:
    rows = problems.select("problem_id", "prompt_token_ids").iter_rows()
    jobs = [Job(problem_id, prompt, strategy) for problem_id, prompt in rows]
    engine = experiment.engine
    began = time.monotonic()
    growth = grow_shard(
        jobs, engine=engine, tokenizer=experiment.tokenizer, max_rows=experiment.settings.policy.max_rows
    )
    seconds = time.monotonic() - began
    tokens = int(growth.costs["unique_tokens"].sum())
    say(
        f"grew {name}: {len(jobs)} trees, {tokens} tokens, {seconds:.1f} s ({tokens / max(seconds, 1e-9):.0f}/s)"
    )
    costs = growth.costs.with_columns(seconds=pl.lit(seconds / max(len(jobs), 1)))
    return {"forest": growth.forest, "costs": costs, "rejected": growth.rejected}


def marked(experiment: Experiment, trees: Trees, low_logprob: float) -> Trees:
    """With tables `steps` (nodes cut for every kind of step) and `grades` beside what was grown."""
    threshold = experiment.settings.training.threshold
    forest = trees.tables["forest"]

    def make() -> Tables:
        steps = mark_steps(
            forest, tokenizer=experiment.tokenizer, threshold=threshold, low_logprob=low_logprob
        )
        return {"steps": steps, "grades": grade_trees(steps, experiment.problems, experiment.grader)}

    key = {"trees": trees.key, "threshold": threshold, "low_logprob": low_logprob}
    made = stored_tables(experiment.store, "steps", trees.name, key, make)
    return Trees(trees.name, content_hash(key), trees.tables | made)
