"""Stage `search`: grow the trees, shard by shard.

Every shard starts from an engine without held prefixes and depends on its own problems alone: a shard written before
the run was killed is kept as it is, and one computed again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from eduprm.forest import token_counts, write_shard, write_table
from eduprm.search import Greedy, HighTemperature, PolicyTokenizer, Strategy, TransformersEngine, derive_seed
from eduprm.search.grow import grow_forest
from train_app.progress import bar, say
from train_app.run_folder import RunFolder
from train_app.settings import TrainSettings


def strategies(settings: TrainSettings, split: str) -> list[Strategy]:
    """EDU trees for training; on held-out problems the baselines too."""
    if split == "train":
        return [settings.search]
    shared: dict[str, Any] = {
        "threshold": settings.search.threshold,
        "skip_symbols": settings.search.skip_symbols,
        "max_tokens_per_path": settings.search.budget.max_tokens_per_path,
    }
    samples = HighTemperature(
        **shared,
        temperature=settings.samples.temperature,
        num_samples=settings.samples.num_samples,
        seed=derive_seed(settings.seed, "samples"),
    )
    return [settings.search, samples, Greedy(**shared)]


def shards(settings: TrainSettings, problems: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """(name, split, problems) of every shard."""
    for split in ("train", "test"):
        own = problems.filter(split=split)
        for number, start in enumerate(range(0, own.height, settings.shard_problems)):
            yield f"{split}-{number:05d}", split, own.slice(start, settings.shard_problems)


def search_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write forest/*.parquet, and rejected/search/*.parquet where problems were set aside."""
    problems = pl.read_parquet(folder.path("problems.parquet"))
    todo = [s for s in shards(settings, problems) if not folder.path("forest", f"{s[0]}.parquet").is_file()]
    total = sum(shard.height * len(strategies(settings, split)) for _, split, shard in todo)
    if todo:
        _grow(settings, folder, todo, total)
    return _summary(folder)


def _grow(
    settings: TrainSettings, folder: RunFolder, todo: list[tuple[str, str, pl.DataFrame]], total: int
) -> None:
    policy = settings.policy
    engine = TransformersEngine.from_pretrained(
        policy.model,
        device=policy.device,
        dtype=policy.dtype,
        trust_remote_code=policy.trust_remote_code,
        max_rows=policy.max_rows,
        cache_tokens=policy.cache_tokens,
    )
    tokenizer = PolicyTokenizer(policy.model, trust_remote_code=policy.trust_remote_code)
    with bar("search", total=total) as shown:

        def on_tree(rows: pl.DataFrame) -> None:
            shown.advance(note=f"{engine.num_decoded / max(shown.seconds, 1e-9):.0f} tokens/s")

        for name, split, shard in todo:
            engine.reset()
            growth = grow_forest(
                shard,
                strategies=strategies(settings, split),
                engine=engine,
                decoder=tokenizer,
                # A tree decodes one path at a time: twice the rows keep the batch full to the end.
                concurrency=2 * policy.max_rows,
                on_tree=on_tree,
            )
            if growth.rejected.height:
                write_table(growth.rejected, folder.path("rejected", "search", f"{name}.parquet"))
            # The forest last: it is what says that the shard is done.
            write_shard(growth.forest, folder.path("forest"), name)


def _summary(folder: RunFolder) -> dict[str, Any]:
    counts = pl.concat([token_counts(pl.read_parquet(path)) for path in _forest_files(folder)])
    trees = {
        str(tree): {
            "trees": len(rows),
            "leaves": int(rows["leaves"].sum()),
            "nodes": int(rows["nodes"].sum()),
            "unique_tokens": int(rows["unique_tokens"].sum()),
            "path_tokens": int(rows["path_tokens"].sum()),
        }
        for (tree,), rows in counts.group_by(["tree"], maintain_order=True)
    }
    rejected = sum(pl.read_parquet(p).height for p in folder.path("rejected", "search").glob("*.parquet"))
    for tree, row in trees.items():
        say(
            f"search: {tree}: {row['trees']} trees, {row['leaves']} leaves, {row['unique_tokens']} tokens decoded "
            f"({row['path_tokens']} if no prefix were shared)"
        )
    if rejected:
        say(f"search: {rejected} trees could not be grown, listed in {folder.path('rejected', 'search')}")
    return {"trees": trees, "rejected": rejected}


def _forest_files(folder: RunFolder) -> list[Any]:
    return sorted(folder.path("forest").glob("*.parquet"))
