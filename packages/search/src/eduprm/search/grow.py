"""Grow many trees: problems in, trees out, a bounded number of them at once.

A problem that an engine refuses is rejected with its reason; the rest goes on. `grow_trees` hands out each tree as
it is finished and holds no more than are growing, so the number of problems has no bound; `grow_forest` collects
them in the order of the problems. A tree comes out whole or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import polars as pl

from eduprm.search.branches import tree_rows
from eduprm.search.contract import Engine, RequestError, Tokenizer, TransientError, holding
from eduprm.search.cost import COST_SCHEMA, Meter
from eduprm.search.problems import check_problems, check_strategies
from eduprm.search.strategies._contract import Strategy
from eduprm.search.tree_rows import TreeRows, frame_of

REJECTED_SCHEMA = pl.Schema(
    {"problem_id": pl.String(), "tree": pl.String(), "reason": pl.String(), "transient": pl.Boolean()}
)
"""One row a tree that was not grown; `transient` where asking again later may help."""


class Job(NamedTuple):
    """One tree to be grown."""

    problem_id: str
    prompt_ids: Sequence[int]
    strategy: Strategy


class Grown(NamedTuple):
    """What became of a job: either `rows` and `cost`, or `reason`.

    Attributes:
        number: place of the job among the jobs.
        job: the job.
        rows: forest rows of the tree by column; None if it was rejected.
        cost: its row of COST_SCHEMA.
        reason: why it was rejected.
        transient: whether asking again later may help.
    """

    number: int
    job: Job
    rows: TreeRows | None
    cost: dict[str, Any] | None
    reason: str | None
    transient: bool


class Growth(NamedTuple):
    """What growing gave.

    Attributes:
        forest: nodes of all trees, in the order of problems and strategies.
        rejected: REJECTED_SCHEMA, a row for each tree that could not be grown.
        costs: COST_SCHEMA, a row for each tree that was grown.
    """

    forest: pl.DataFrame
    rejected: pl.DataFrame
    costs: pl.DataFrame


def grow_forest(
    problems: pl.DataFrame,
    *,
    strategies: Sequence[Strategy],
    engine: Engine,
    tokenizer: Tokenizer,
    concurrency: int = 64,
    on_tree: Callable[[pl.DataFrame], None] | None = None,
) -> Growth:
    """Grow one tree per problem and strategy.

    Args:
        problems: needs problem_id and prompt_token_ids.
        strategies: what to grow; their tree names must differ.
        engine: continues the prefixes. One that is an async context manager (a server's client) is entered and left.
        tokenizer: the policy's tokenizer.
        concurrency: most trees growing at once.
        on_tree: called with the rows of each tree as it is finished, for progress.

    Raises:
        ValueError: two strategies share a tree name, a problem has no prompt or stands twice, a column is missing,
            or `concurrency` is below 1.
        EngineMismatchError: the engine is not what was asked for.

    Examples:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from eduprm.search import EduSampling, TransformersEngine
        >>> _ = torch.manual_seed(0)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=26, hidden_size=16, intermediate_size=32,
        ...     num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64))
        >>> class Letters:
        ...     def decode(self, token_ids):
        ...         return "".join(chr(97 + token) for token in token_ids)
        >>> growth = grow_forest(
        ...     pl.DataFrame({"problem_id": ["p"], "prompt_token_ids": [[1, 2, 3]]}),
        ...     strategies=[EduSampling(budget={"max_leaves": 3, "max_tokens_per_path": 6})],
        ...     engine=TransformersEngine(model, stop_ids=frozenset({25})),
        ...     tokenizer=Letters(),
        ... )
        >>> growth.forest["finish"].drop_nulls().len(), growth.rejected.height  # leaves, trees rejected
        (3, 0)
    """

    async def entered() -> Growth:
        if isinstance(engine, AbstractAsyncContextManager):
            async with engine:
                return await grow()
        return await grow()

    async def grow() -> Growth:
        return await grow_forest_async(
            problems,
            strategies=strategies,
            engine=engine,
            tokenizer=tokenizer,
            concurrency=concurrency,
            on_tree=on_tree,
        )

    return asyncio.run(entered())


async def grow_forest_async(
    problems: pl.DataFrame,
    *,
    strategies: Sequence[Strategy],
    engine: Engine,
    tokenizer: Tokenizer,
    concurrency: int = 64,
    on_tree: Callable[[pl.DataFrame], None] | None = None,
) -> Growth:
    """`grow_forest` inside an event loop that is already running; it neither enters nor leaves the engine."""
    check_strategies(strategies, concurrency=concurrency)
    check_problems(problems)
    jobs = (
        Job(problem_id, prompt, strategy)
        for strategy in strategies
        for problem_id, prompt in problems.select("problem_id", "prompt_token_ids").iter_rows()
    )
    done: list[Grown] = []
    async for grown in grow_trees(jobs, engine=engine, tokenizer=tokenizer, concurrency=concurrency):
        done.append(grown)
        if on_tree is not None and grown.rows is not None:
            on_tree(grown.rows.frame())
    return collect(done)


def collect(grown: Iterable[Grown]) -> Growth:
    """The tables of many jobs, in the order of the jobs."""
    done = sorted(grown, key=lambda one: one.number)
    trees = [one.rows for one in done if one.rows is not None]
    refused = [
        (one.job.problem_id, one.job.strategy.tree, one.reason, one.transient)
        for one in done
        if one.rows is None
    ]
    return Growth(
        frame_of(trees),
        pl.DataFrame(refused, schema=REJECTED_SCHEMA, orient="row"),
        pl.DataFrame([one.cost for one in done if one.cost is not None], schema=COST_SCHEMA),
    )


def trees_at_once(requests: int) -> int:
    """Trees to grow at once so that a server always has `requests` paths on their way.

    A tree decodes one path at a time: a quarter more of them has the next path ready when one ends. Many more would
    only end together, and leave the server's batch to drain.
    """
    return requests + max(requests // 4, 1)


async def grow_trees(
    jobs: Iterable[Job], *, engine: Engine, tokenizer: Tokenizer, concurrency: int = 64
) -> AsyncIterator[Grown]:
    """Grow the trees of any number of jobs, and hand out each as it is finished.

    Jobs are taken one by one as there is room, so an endless iterator is fine; at most `concurrency` trees grow, and as
    many wait to be taken. Who takes slowly slows the growing down.

    Raises:
        ValueError: `concurrency` is below 1.
        EngineMismatchError: the engine is not what was asked for; so does anything else that goes wrong in an engine.
    """
    if concurrency < 1:
        raise ValueError(f"concurrency: expected at least 1 tree at once, got {concurrency}")
    getattr(tokenizer, "table", None)  # built now: the first trees to end would hold up all others
    numbered = enumerate(jobs)
    finished: asyncio.Queue[Grown | BaseException | None] = asyncio.Queue(maxsize=concurrency)

    async def work() -> None:
        for number, job in numbered:
            await finished.put(await _grow_tree(number, job, engine, tokenizer))

    async def run() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(work())
        except BaseExceptionGroup as failed:
            await finished.put(failed.exceptions[0])
        else:
            await finished.put(None)

    running = asyncio.create_task(run())
    try:
        while (grown := await finished.get()) is not None:
            if isinstance(grown, BaseException):
                raise grown
            yield grown
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _grow_tree(number: int, job: Job, engine: Engine, tokenizer: Tokenizer) -> Grown:
    meter, strategy = Meter(engine), job.strategy
    try:
        with holding(engine, job.problem_id):
            branches = await strategy.grow(
                tuple(job.prompt_ids), problem_id=job.problem_id, engine=meter, tokenizer=tokenizer
            )
    except (RequestError, TransientError) as error:
        return Grown(number, job, None, None, str(error), isinstance(error, TransientError))
    rows = tree_rows(
        branches,
        problem_id=job.problem_id,
        tree=strategy.tree,
        cut=strategy.cut,
        tokenizer=tokenizer,
        stop_ids=engine.stop_ids,
    )
    cost = {
        "problem_id": job.problem_id,
        "tree": strategy.tree,
        "requests": meter.requests,
        "unique_tokens": sum(len(branch.token_ids) for branch in branches),
        "prefix_tokens": meter.prefix_tokens,
        "cached_tokens": meter.cached_tokens,
        "recomputed_tokens": meter.recomputed_tokens,
    }
    return Grown(number, job, rows, cost, None, False)
