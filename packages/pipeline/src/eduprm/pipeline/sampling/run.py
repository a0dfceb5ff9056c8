"""The stages, in order; everything computed is kept by content, so that a stage done before costs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from eduprm.bench.grid import GRID_SCHEMA
from eduprm.core.command_line import UsageError, quiet_libraries
from eduprm.core.files import locked
from eduprm.core.progress import say
from eduprm.forest import write_table
from eduprm.pipeline.prefix_quantile import QuantileScorer
from eduprm.pipeline.sampling.candidates import (
    TOKEN_SCHEMA,
    distinct_tokens,
    setting_candidates,
    setting_tokens,
)
from eduprm.pipeline.sampling.compare import Comparison, compare
from eduprm.pipeline.sampling.experiment import Experiment
from eduprm.pipeline.sampling.gold import judge_lines, line_items
from eduprm.pipeline.sampling.grow import (
    Setting,
    Trees,
    edu_settings,
    grown,
    marked,
    pruned_settings,
    pruned_strategy,
    sample_settings,
    strategy_of,
)
from eduprm.pipeline.sampling.prms import Prm, train_prms
from eduprm.pipeline.sampling.settings import STAGES, SamplingSettings
from eduprm.pipeline.sampling.training import RULE_OF, TrainingSets, make_training_sets

_GOLD_SOLUTIONS = (
    8  # distinct solutions per problem, of trees and of samples each, that PRMs are judged on line by line
)


class Grown(NamedTuple):
    """Trees of a setting, one draw: a table per shard of problems."""

    setting: Setting
    seed: int | None
    shards: list[Trees]


def run(settings: SamplingSettings) -> int:
    """Run the command; returns the exit status."""
    quiet_libraries()
    with locked(settings.output, "--output"):
        experiment = Experiment(settings)
        try:
            _run(experiment)
        finally:
            experiment.close()
    return 0


def _run(experiment: Experiment) -> None:
    settings = experiment.settings
    last = STAGES.index(settings.until)
    write_table(experiment.problems, experiment.folder / "problems.parquet")
    if last < STAGES.index("train"):
        return
    sets = make_training_sets(experiment)
    if last < STAGES.index("prms"):
        return
    prms = train_prms(experiment, sets.sets)
    if last < STAGES.index("grow"):
        return
    everything = list(_grown(experiment, sets, prms[0]))
    if last < STAGES.index("score"):
        return
    scored = _scored(experiment, everything, prms)
    if last < STAGES.index("report"):
        return
    from eduprm.pipeline.sampling.report import write_report

    comparison, gold = _compare(experiment, everything, scored, prms)
    write_report(experiment, comparison, gold, sets, prms, everything)
    say(f"all stages done in {time.monotonic() - experiment.began:.0f} s")


def _grown(experiment: Experiment, sets: TrainingSets, headline: Prm) -> Iterator[Grown]:
    settings = experiment.settings
    shards = experiment.shards("test")
    guide = QuantileScorer(headline.prefixes, lambda: iter(sets.trees))

    def grow(setting: Setting, seed: int | None) -> Grown:
        found = []
        for number, part in enumerate(shards):
            key = {"grown": setting.grown, "draw": seed, "cut": settings.training.threshold}
            key |= {"run_seed": settings.seed} if setting.family == "samples" else {}
            key |= {name: getattr(settings.grid, name) for name in ("max_leaves", "max_tokens_per_path")}
            if setting.family == "P-EDU":
                key |= {"prm": headline.key, "quantile_of": sets.trees_key} | {
                    name: getattr(settings.grid, name) for name in ("stop_quantile", "piece_tokens")
                }
                strategy = pruned_strategy(setting, settings, guide)
            else:
                strategy = strategy_of(setting, settings, draw=seed or 0)
            name = f"{setting.grown}-{'' if seed is None else f'draw{seed}-'}{number:04}"
            found.append(marked(experiment, grown(experiment, name, part, strategy, key), sets.low_logprob))
        return Grown(setting, seed, found)

    edu = edu_settings(settings.grid, sets.calibrated)
    # Greedy decoding is the first leaf of any EDU tree.
    yield grow(edu[0]._replace(name="greedy", family="greedy"), None)
    for setting in [*edu, *pruned_settings(settings.grid)]:
        yield grow(setting, None)
    for seed in range(settings.grid.seeds):
        for setting in sample_settings(settings.grid):
            yield grow(setting, seed)


def _judges(experiment: Experiment, one: Grown, prms: list[Prm]) -> list[tuple[int | None, Prm]]:
    """Which PRMs score a setting, and as which draw: several trainings of a PRM are draws of their own."""
    wanted = experiment.settings.prm
    found: list[tuple[int | None, Prm]] = []
    for kind in dict.fromkeys(prm.kind for prm in prms):
        if (
            kind != "edu"
            and one.setting.family == "samples"
            and one.setting.temperature not in wanted.temperatures
        ):
            continue
        own = [prm for prm in prms if prm.kind == kind]
        draws: list[int | None] = [one.seed]
        if one.seed is None and len(own) > 1:
            draws = list(range(experiment.settings.grid.seeds))
        found += [(draw, own[(draw or 0) % len(own)]) for draw in draws]
    return found


def _scored(
    experiment: Experiment, everything: list[Grown], prms: list[Prm]
) -> dict[str, list[tuple[Grown, int | None, Prm, list[pl.DataFrame]]]]:
    """Per kind of PRM: what it scored, as which draw, and the nodes with scores."""
    found: dict[str, list[tuple[Grown, int | None, Prm, list[pl.DataFrame]]]] = {}
    asked = [(one, draw, judge) for one in everything for draw, judge in _judges(experiment, one, prms)]
    for prm in prms:  # one after another, so that one model at a time is in memory
        for one, draw, judge in asked:
            if judge is prm:
                steps = [prm.score(trees) for trees in one.shards]
                found.setdefault(prm.kind, []).append((one, draw, prm, steps))
        prm.prefixes.release()
    return found


def _compare(
    experiment: Experiment,
    everything: list[Grown],
    scored: dict[str, list[tuple[Grown, int | None, Prm, list[pl.DataFrame]]]],
    prms: list[Prm],
) -> tuple[Comparison, pl.DataFrame]:
    settings = experiment.settings
    ns = settings.grid.ns
    plain = _common(
        [setting_candidates(one.setting, trees, seed=one.seed) for one in everything for trees in one.shards]
    )
    kept = plain["problem_id"].unique().to_list()
    with_scores = {
        kind: pl.concat(
            [
                setting_candidates(one.setting, trees, seed=draw, steps=nodes, rule=RULE_OF[prm.kind])
                for one, draw, prm, steps in rows
                for trees, nodes in zip(one.shards, steps, strict=True)
            ]
        ).filter(pl.col("problem_id").is_in(kept))
        for kind, rows in scored.items()
    }
    tokens = pl.concat(
        [
            setting_tokens(one.setting, trees, seed=one.seed, ns=ns)
            for one in everything
            for trees in one.shards
        ]
    ).filter(pl.col("problem_id").is_in(kept))
    distinct = [
        distinct_tokens(one.setting, trees, seed=one.seed)
        for one in everything
        for trees in one.shards
        if one.setting.family == "samples"
    ]
    comparison = compare(
        plain,
        with_scores,
        tokens.cast(pl.Schema(TOKEN_SCHEMA)),
        pl.concat(distinct),
        headline="edu",
        families={one.setting.name: one.setting.family for one in everything},
        solution=settings.prm.train.scoring.solution,
        ns=ns,
        seed=settings.seed,
        bootstrap=settings.bootstrap,
    )
    return comparison, _gold(experiment, scored, kept)


def _common(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Candidates of the problems that every setting has some for; the others are rejected, and that is said."""
    whole = pl.concat(frames) if frames else pl.DataFrame(schema=GRID_SCHEMA)
    units = whole.select("setting", "seed").unique().height
    counts = whole.select("setting", "seed", "problem_id").unique().group_by("problem_id").len()
    kept = counts.filter(pl.col("len") == units)["problem_id"].to_list()
    if not kept:
        raise UsageError("no held-out problem was grown in every setting; see store/trees/*/rejected.parquet")
    if len(kept) < counts.height:
        say(f"{counts.height - len(kept)} problems lack some setting's trees and are left out")
    return whole.filter(pl.col("problem_id").is_in(kept))


def _gold(
    experiment: Experiment,
    scored: dict[str, list[tuple[Grown, int | None, Prm, list[pl.DataFrame]]]],
    kept: list[str],
) -> pl.DataFrame:
    """PRMs (the first training of each kind) line by line, on a best-first tree's solutions and one draw's samples."""
    items: dict[str, pl.DataFrame] = {}
    for kind, rows in scored.items():
        first = rows[0][2]
        found: dict[str, pl.DataFrame] = {}
        for one, _, prm, steps in rows:
            wanted = one.setting.family == "EDU" or (one.setting.family == "samples" and one.seed == 0)
            in_all = one.setting.temperature in (None, *experiment.settings.prm.temperatures[:1])
            if prm is first and wanted and in_all and one.setting.family not in found:
                found[one.setting.family] = line_items(pl.concat(steps), most=_GOLD_SOLUTIONS)
        items[kind] = pl.concat(found.values()).filter(pl.col("problem").is_in(kept))
    return judge_lines(items, seed=experiment.settings.seed, bootstrap=experiment.settings.bootstrap)
