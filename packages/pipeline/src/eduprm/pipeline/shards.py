"""The search stage's files: which trees of a shard are there, which are missing, and how new ones join them.

    forest/NAME.parquet           the trees, whole, in the order of strategies and problems
    costs/NAME.parquet            what each cost its engine (eduprm.search.cost)
    rejected/search/NAME.parquet  the trees that could not be grown, with the reason and whether it may pass

A shard without a forest file has not been grown. One with such a file lacks the trees whose reason may pass
(`transient`: a lost worker, a timeout); they are grown on the next start, and the rest is kept byte for byte where
nothing was missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from eduprm.forest import read_forest, write_shard, write_table
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.strategies import run_strategies
from eduprm.search import Growth, Strategy
from eduprm.search.cost import COST_SCHEMA
from eduprm.search.grow import REJECTED_SCHEMA, Job

_KEYS = ["problem_id", "tree"]


class Shard(NamedTuple):
    """Some problems of one split."""

    name: str
    problems: pl.DataFrame
    strategies: list[Strategy]

    def jobs(self) -> list[Job]:
        """All its trees, in the order in which its forest holds them."""
        prompts = self.problems.select("problem_id", "prompt_token_ids").rows()
        return [Job(name, ids, strategy) for strategy in self.strategies for name, ids in prompts]


def shards(settings: TrainSettings, problems: pl.DataFrame) -> Iterator[Shard]:
    """Every shard of the run: trees of the first strategy for training, of all on held-out problems."""
    grown = run_strategies(settings, problems)
    for split in ("train", "test"):
        own = problems.filter(split=split)
        for number, start in enumerate(range(0, own.height, settings.shard_problems)):
            part = own.slice(start, settings.shard_problems)
            yield Shard(f"{split}-{number:05d}", part, list(grown[:1] if split == "train" else grown))


def missing(folder: RunFolder, shard: Shard) -> list[Job]:
    """The shard's trees that are still to be grown."""
    if not _forest(folder, shard.name).is_file():
        return shard.jobs()
    lacking = set(_rejected(folder, shard.name).filter("transient").select(_KEYS).rows())
    return [job for job in shard.jobs() if (job.problem_id, job.strategy.tree) in lacking]


def store(folder: RunFolder, shard: Shard, growth: Growth) -> None:
    """Write what was grown of a shard, beside what is there of it."""
    before = _forest(folder, shard.name)
    costs, rejected, forest = growth.costs, growth.rejected, growth.forest
    if before.is_file():
        forest = _in_order(shard, pl.concat([read_forest(before), forest]))
        costs = pl.concat([_costs(folder, shard), costs]).unique(_KEYS, keep="last", maintain_order=True)
        kept = _rejected(folder, shard.name).filter(~pl.col("transient"))
        rejected = pl.concat([kept, rejected])
    write_table(costs, folder.path("costs", f"{shard.name}.parquet"))
    if before.is_file():
        write_shard(forest, folder.path("forest"), shard.name)
    path = folder.path("rejected", "search", f"{shard.name}.parquet")
    if rejected.height:
        write_table(rejected, path)
    else:
        path.unlink(missing_ok=True)
    if not before.is_file():
        # The forest last: it is what says that the shard has been grown.
        write_shard(forest, folder.path("forest"), shard.name)


def rejected_of(folder: RunFolder) -> pl.DataFrame:
    """All trees of the run that could not be grown."""
    files = sorted(folder.path("rejected", "search").glob("[!.]*.parquet"))
    return pl.concat(
        [pl.DataFrame(schema=REJECTED_SCHEMA), *(_rejected(folder, path.stem) for path in files)]
    )


def _in_order(shard: Shard, forest: pl.DataFrame) -> pl.DataFrame:
    trees = forest.partition_by(_KEYS, as_dict=True)
    order = [(job.problem_id, job.strategy.tree) for job in shard.jobs()]
    return pl.concat([trees[key] for key in order if key in trees]) if trees else forest


def _forest(folder: RunFolder, name: str) -> Path:
    return folder.path("forest", f"{name}.parquet")


def _costs(folder: RunFolder, shard: Shard) -> pl.DataFrame:
    path = folder.path("costs", f"{shard.name}.parquet")
    return pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema=COST_SCHEMA)


def _rejected(folder: RunFolder, name: str) -> pl.DataFrame:
    """The trees of a shard that could not be grown."""
    path, forest = folder.path("rejected", "search", f"{name}.parquet"), _forest(folder, name)
    if not path.is_file():
        return pl.DataFrame(schema=REJECTED_SCHEMA)
    frame = pl.read_parquet(path)
    # Written before reasons were told apart: for good.
    frame = frame if "transient" in frame.columns else frame.with_columns(transient=pl.lit(False))
    if not (frame["transient"].any() and forest.is_file()):
        return frame
    # What the forest holds counts, not the list: a run may have been killed between the two files.
    there = pl.read_parquet(forest, columns=_KEYS).unique()
    return frame.join(there, on=_KEYS, how="anti", maintain_order="left")
