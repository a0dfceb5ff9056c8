"""Stage `search`: grow the trees, shard by shard, with a model in this process or through an SGLang server.

In this process, every shard starts from an engine without held prefixes and depends on its own problems alone: a shard
written before the run was killed is kept as it is, and one computed again gives the same bytes. Through a server, trees
of several shards grow at once, so that the server's batch stays full from one shard to the next; a shard is written
when its last tree has ended. Which trees are there and which are missing, `shards` knows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.errors import UnfinishedError
from eduprm.core.progress import Bar, bar, say
from eduprm.forest import token_counts
from eduprm.pipeline.cut_solutions import CutWatch, count_cut, cut_lines
from eduprm.pipeline.growing import grow_shard
from eduprm.pipeline.recheck_forks import recheck_forks
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.served import on_server
from eduprm.pipeline.server_faults import ServerFaults, fault_lines, rejected_for
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.shards import Shard, missing, rejected_of, shards, store
from eduprm.pipeline.threshold_advice import threshold_advice
from eduprm.search import PolicyTokenizer
from eduprm.search.grow import Grown, Growth, Job, collect, grow_trees, trees_at_once

if TYPE_CHECKING:
    from eduprm.search.sglang import SglangServer

_Todo = list[tuple[Shard, list[Job]]]


def search_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write forest/*.parquet and costs/*.parquet, and rejected/search/*.parquet where trees were rejected.

    Raises:
        UsageError: the server is not the one asked for.
        UnfinishedError: trees are missing for reasons that may pass.
    """
    problems = pl.read_parquet(folder.path("problems.parquet"))
    todo = [(shard, jobs) for shard in shards(settings, problems) if (jobs := missing(folder, shard))]
    if todo:
        tokenizer = PolicyTokenizer(
            settings.policy.model, trust_remote_code=settings.policy.trust_remote_code
        )
        grow = _grow_here if settings.engine == "transformers" else _grow_served
        with bar("search", total=sum(len(jobs) for _, jobs in todo)) as shown:
            for part in _in_turn(todo):
                grow(settings, folder, part, tokenizer, shown)
                if rejected_of(folder)["transient"].any():
                    break
    rejected = rejected_of(folder)
    left = rejected.filter("transient")
    facts = _summary(settings, folder, rejected.filter(~pl.col("transient")))
    if todo and not left.height:
        # The first shard says enough, and memory does not grow with the problems.
        trees = pl.read_parquet(folder.path("forest", "train-00000.parquet"))
        advice = threshold_advice(trees, settings.search, tokenizer=tokenizer)
        if advice:
            say(advice)
    if left.height:
        total = sum(len(shard.jobs()) for shard in shards(settings, problems))
        raise UnfinishedError(
            f"search: {left.height} of {total} trees are missing, the first because: {left['reason'][0]}. The same "
            "command fetches exactly these"
        )
    return {**facts, **recheck_forks(settings, folder)}


def _in_turn(todo: _Todo) -> list[_Todo]:
    """The shards to be grown together: all, or those for training first where a strategy reads what they hold."""
    if not any(getattr(job.strategy, "after_training_trees", False) for _, jobs in todo for job in jobs):
        return [todo]
    first = [one for one in todo if one[0].name.startswith("train")]
    return [part for part in (first, todo[len(first) :]) if part]


def _grow_here(
    settings: TrainSettings, folder: RunFolder, todo: _Todo, tokenizer: PolicyTokenizer, shown: Bar
) -> None:
    engine, watch = settings.policy.open_engine(), CutWatch(settings, len(todo))

    def told(_: Grown) -> None:
        shown.advance(note=f"{engine.num_decoded / max(shown.seconds, 1e-9):.0f} tokens/s")

    for shard, jobs in todo:
        rows = settings.policy.max_rows
        grown = grow_shard(jobs, engine=engine, tokenizer=tokenizer, max_rows=rows, on_tree=told)
        store(folder, shard, grown)
        watch.note(grown.forest)


def _grow_served(
    settings: TrainSettings, folder: RunFolder, todo: _Todo, tokenizer: PolicyTokenizer, shown: Bar
) -> None:
    faults, watch = ServerFaults(folder), CutWatch(settings, len(todo))
    at_once = trees_at_once(settings.server.max_requests)

    async def grow(engine: SglangServer) -> None:
        def keep(shard: Shard, growth: Growth) -> None:
            store(folder, shard, growth)
            faults.note(engine)
            watch.note(growth.forest)

        jobs = itertools.chain.from_iterable(jobs for _, jobs in todo)
        put = _by_shard(todo, keep)
        try:
            async for grown in grow_trees(jobs, engine=engine, tokenizer=tokenizer, concurrency=at_once):
                put(grown)
                retries = f", {engine.num_retries} retries" if engine.num_retries else ""
                shown.advance(note=f"{engine.num_decoded / max(shown.seconds, 1e-9):.0f} tokens/s{retries}")
        finally:
            faults.note(engine)

    on_server(settings, grow)


def _by_shard(todo: _Todo, whole: Callable[[Shard, Growth], None]) -> Callable[[Grown], None]:
    """Gather trees that end in any order; `whole` is called with each shard when its last one has."""
    place = [number for number, (_, jobs) in enumerate(todo) for _ in jobs]
    gathered: dict[int, list[Grown]] = {}

    def put(grown: Grown) -> None:
        number = place[grown.number]
        own = gathered.setdefault(number, [])
        own.append(grown)
        if len(own) == len(todo[number][1]):
            whole(todo[number][0], collect(gathered.pop(number)))

    return put


def _summary(settings: TrainSettings, folder: RunFolder, rejected: pl.DataFrame) -> dict[str, Any]:
    counts = pl.concat([token_counts(pl.read_parquet(path)) for path in _files(folder, "forest")])
    costs = pl.concat([pl.read_parquet(path) for path in _files(folder, "costs")])
    trees: dict[str, Any] = {}
    for (tree,), rows in counts.group_by(["tree"], maintain_order=True):
        own = costs.filter(tree=tree)
        trees[str(tree)] = {
            "trees": len(rows),
            **{name: int(rows[name].sum()) for name in ("leaves", "nodes", "unique_tokens", "path_tokens")},
            **{
                name: int(own[name].sum())
                for name in ("requests", "prefix_tokens", "cached_tokens", "recomputed_tokens")
            },
        }
    for tree, row in trees.items():
        prefix = max(row["prefix_tokens"], 1)
        say(
            f"search: {tree}: {row['trees']} trees, {row['leaves']} leaves, {row['unique_tokens']} tokens decoded "
            f"({row['path_tokens']} if no prefix were shared); of {row['prefix_tokens']} prefix tokens "
            f"{row['cached_tokens'] / prefix:.1%} were held, {row['recomputed_tokens'] / prefix:.1%} computed again"
        )
    forests = (pl.read_parquet(path, columns=["tree", "finish"]) for path in _files(folder, "forest"))
    cut = count_cut(settings, forests)
    facts = {"trees": trees, "cut_solutions": cut, "rejected": rejected.height}
    facts["rejected_for"] = rejected_for(rejected)
    for line in (*cut_lines(cut), *fault_lines({**folder.facts("search"), **facts})):
        say(f"search: {line}")
    if rejected.height:
        say(
            f"search: {rejected.height} trees could not be grown, listed in {folder.path('rejected', 'search')}"
        )
    return facts


def _files(folder: RunFolder, kind: str) -> list[Any]:
    return sorted(folder.path(kind).glob("[!.]*.parquet"))
