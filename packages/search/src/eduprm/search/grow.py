"""Grow a forest: many problems, one strategy, one engine, a bounded number of trees at once.

A problem whose request an engine refuses is set aside with its reason; the rest goes on. Trees come out in the order of
the problems whatever order they end in. Knows nothing of files: write what it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from eduprm.forest import NODE_SCHEMA
from eduprm.search.branches import to_rows
from eduprm.search.contract import Engine, RequestError, TokenDecoder, holding
from eduprm.search.problems import check_problems, check_strategies
from eduprm.search.strategies import Strategy

REJECTED_SCHEMA = {"problem_id": pl.String, "tree": pl.String, "reason": pl.String}


class Growth(NamedTuple):
    """What growing gave.

    Attributes:
        forest: nodes of all trees, in the order of problems and strategies.
        rejected: problem_id, tree and reason of each tree that could not be grown.
    """

    forest: pl.DataFrame
    rejected: pl.DataFrame


def grow_forest(
    problems: pl.DataFrame,
    *,
    strategies: Sequence[Strategy],
    engine: Engine,
    decoder: TokenDecoder,
    concurrency: int = 64,
    on_tree: Callable[[pl.DataFrame], None] | None = None,
) -> Growth:
    """Grow one tree per problem and strategy.

    Args:
        problems: needs problem_id and prompt_token_ids.
        strategies: what to grow; their tree names must differ.
        engine: continues the prefixes.
        decoder: the policy's tokenizer.
        concurrency: most trees growing at once.
        on_tree: called with the rows of each tree as it is finished, for progress.

    Raises:
        ValueError: two strategies share a tree name, a problem has no prompt or stands twice, a column is missing,
            or `concurrency` is below 1.

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
        ...     decoder=Letters(),
        ... )
        >>> growth.forest["finish"].drop_nulls().len(), growth.rejected.height  # leaves, trees set aside
        (3, 0)
    """
    return asyncio.run(
        grow_forest_async(
            problems,
            strategies=strategies,
            engine=engine,
            decoder=decoder,
            concurrency=concurrency,
            on_tree=on_tree,
        )
    )


async def grow_forest_async(
    problems: pl.DataFrame,
    *,
    strategies: Sequence[Strategy],
    engine: Engine,
    decoder: TokenDecoder,
    concurrency: int = 64,
    on_tree: Callable[[pl.DataFrame], None] | None = None,
) -> Growth:
    """`grow_forest` inside an event loop that is already running."""
    check_strategies(strategies, concurrency=concurrency)
    check_problems(problems)
    places = asyncio.Semaphore(concurrency)

    async def grow(
        problem_id: str, prompt: list[int], strategy: Strategy
    ) -> pl.DataFrame | tuple[str, str, str]:
        async with places:
            try:
                with holding(engine, problem_id):
                    branches = await strategy.grow(
                        tuple(prompt), problem_id=problem_id, engine=engine, decoder=decoder
                    )
            except RequestError as error:
                return problem_id, strategy.tree, str(error)
        rows = to_rows(
            branches,
            problem_id=problem_id,
            tree=strategy.tree,
            cut=strategy.cut,
            decoder=decoder,
            stop_ids=engine.stop_ids,
        )
        if on_tree is not None:
            on_tree(rows)
        return rows

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(grow(problem_id, prompt, strategy))
                for strategy in strategies
                for problem_id, prompt in problems.select("problem_id", "prompt_token_ids").iter_rows()
            ]
    except BaseExceptionGroup as failed:
        # One fault of the engine reaches every tree: once is enough.
        raise failed.exceptions[0] from None
    done = [task.result() for task in tasks]
    grown = [rows for rows in done if isinstance(rows, pl.DataFrame)]
    refused = [row for row in done if isinstance(row, tuple)]
    return Growth(
        pl.concat([pl.DataFrame(schema=NODE_SCHEMA), *grown]),
        pl.DataFrame(refused, schema=REJECTED_SCHEMA, orient="row"),
    )
