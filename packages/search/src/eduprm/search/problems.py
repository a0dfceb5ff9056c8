"""What growing needs of a table of problems, checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eduprm.search.strategies._contract import Strategy

COLUMNS = ("problem_id", "prompt_token_ids")


def check_problems(problems: pl.DataFrame) -> None:
    """Refuse a table that trees cannot be grown from.

    Raises:
        ValueError: a column or an id is missing or of another type, an id stands twice, or a problem has no prompt.

    Examples:
        >>> check_problems(pl.DataFrame({"problem_id": ["p"], "prompt_token_ids": [[5, 6]]}))
        >>> check_problems(pl.DataFrame({"problem_id": ["p", "p"], "prompt_token_ids": [[5], [6]]}))
        Traceback (most recent call last):
        ValueError: problem_id: expected each id once, got 'p' more than once
    """
    missing = [name for name in COLUMNS if name not in problems.columns]
    if missing:
        raise ValueError(
            f"problems: expected the columns {' and '.join(COLUMNS)}, got {', '.join(problems.columns) or 'none'}; "
            f"{' and '.join(missing)} missing"
        )
    kind = problems.schema["prompt_token_ids"]
    if not (problems.is_empty() or (isinstance(kind, pl.List) and kind.inner.is_integer())):
        raise ValueError(f"prompt_token_ids: expected lists of whole numbers, got {kind}")
    ids = problems["problem_id"]
    if not (problems.is_empty() or ids.dtype.base_type() in (pl.String, pl.Categorical, pl.Enum)):
        raise ValueError(f"problem_id: expected texts, got {ids.dtype}")
    if ids.null_count():
        raise ValueError(f"problem_id: expected one for each problem, {ids.null_count()} have none")
    twice = ids.filter(ids.is_duplicated())
    if len(twice):
        raise ValueError(f"problem_id: expected each id once, got {twice[0]!r} more than once")
    prompts = problems["prompt_token_ids"]
    bare = problems.filter(prompts.is_null() | prompts.list.eval(pl.element().is_null()).list.any())
    if len(bare):
        raise ValueError(
            f"prompt_token_ids: {len(bare)} problems have none or one with gaps, the first is "
            f"{bare['problem_id'][0]!r}; encode their prompts first"
        )


def check_strategies(strategies: Sequence[Strategy], *, concurrency: int) -> None:
    """Refuse strategies whose trees could not be told apart, and a number of trees at once below 1.

    Raises:
        ValueError: either.
    """
    names = [strategy.tree for strategy in strategies]
    if len(set(names)) != len(names):
        raise ValueError(f"strategies must have different tree names, got {names}")
    if concurrency < 1:
        raise ValueError(f"concurrency: expected at least 1 tree at once, got {concurrency}")
