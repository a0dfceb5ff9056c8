"""Trees of a shard of problems, grown by the policy in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eduprm.search import PolicyTokenizer, TransformersEngine
from eduprm.search.grow import Grown, Growth, Job, collect, grow_trees


def grow_shard(
    jobs: Sequence[Job],
    *,
    engine: TransformersEngine,
    tokenizer: PolicyTokenizer,
    max_rows: int,
    on_tree: Callable[[Grown], None] = lambda grown: None,
) -> Growth:
    """Grow all trees of a shard, which depend on its own problems alone: the engine forgets held prefixes first.

    Args:
        jobs: the trees.
        engine: the policy.
        tokenizer: of the policy.
        max_rows: rows of the engine's batch.
        on_tree: called with each tree as it is finished, for progress.
    """
    engine.reset()
    # Trees of one problem side by side: where they agree, the greedy path above all, one row of the batch serves them.
    places: dict[str, list[int]] = {}
    for place, job in enumerate(jobs):
        places.setdefault(job.problem_id, []).append(place)
    order = [place for own in places.values() for place in own]

    async def grow() -> Growth:
        done: list[Grown] = []
        # A tree decodes one path at a time: twice the rows keep the batch full to the end.
        async for grown in grow_trees(
            [jobs[place] for place in order], engine=engine, tokenizer=tokenizer, concurrency=2 * max_rows
        ):
            done.append(grown._replace(number=order[grown.number]))
            on_tree(grown)
        return collect(done)

    return asyncio.run(grow())
