"""A word on solutions that the token limit cut before their end: they have no answer, so they count as wrong.

The default limit fits the default policy. Who brings another sees here how many of its solutions were cut, at
the first shard already, and what to give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from eduprm.core.progress import say
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.strategies import run_strategies
from eduprm.report import Table

MANY = 0.1
"""Above this share of a strategy's solutions the limit is spoken of."""
FLAG = "--search.budget.max-tokens-per-path"


def count_cut(settings: TrainSettings, forests: Iterable[pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """Per strategy its solutions, how many of them the limit cut, and the limit (None: it has none of its own).

    Args:
        settings: of the run.
        forests: NODE_SCHEMA, of which `tree` and `finish` are read; leaves that were given up are no solutions.
    """
    rows = [
        forest.filter(pl.col("finish").is_in(["stop", "length"]))
        .group_by("tree")
        .agg(solutions=pl.len(), cut=(pl.col("finish") == "length").sum())
        for forest in forests
    ]
    if not rows:
        return {}
    found = pl.concat(rows).group_by("tree").sum()
    counts = {tree: (int(solutions), int(cut)) for tree, solutions, cut in found.rows()}
    return {
        one.tree: {
            "solutions": counts[one.tree][0],
            "cut": counts[one.tree][1],
            "limit": one.max_tokens_per_path,
        }
        for one in run_strategies(settings)
        if one.tree in counts
    }


def cut_lines(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line where many solutions were cut, none elsewhere.

    Examples:
        >>> cut_lines({"edu": {"solutions": 40, "cut": 30, "limit": 128}})[0][:74]
        'solutions cut before their end: 75 % of 40 by edu (limit 128 tokens); give'
        >>> cut_lines({"edu": {"solutions": 40, "cut": 4, "limit": 128}})
        []
    """
    many = _many(counts)
    if not many:
        return []
    shares = ", ".join(
        f"{_share(one):.0f} % of {one['solutions']} by {tree}"
        + (f" (limit {one['limit']} tokens)" if one["limit"] else "")
        for tree, one in many.items()
    )
    return [
        f"solutions cut before their end: {shares}; give a larger {FLAG}, and --rerun search for trees that are there"
    ]


def cut_tables(counts: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """The same for report.html: no table where few were cut."""
    rows = [
        [tree, f"{one['solutions']:,}", f"{_share(one):.0f} %", str(one["limit"] or "–")]
        for tree, one in _many(counts).items()
    ]
    if not rows:
        return []
    return [
        Table(
            title="Solutions cut before their end",
            columns=["strategy", "solutions", "cut", "limit (tokens)"],
            rows=rows,
            note=f"Cut solutions have no answer and count as wrong. The limit is {FLAG}.",
        )
    ]


class CutWatch:
    """Says once, at the first shard of several, what `cut_lines` will say at the end.

    Args:
        settings: of the run.
        shards: how many are to be grown.
    """

    def __init__(self, settings: TrainSettings, shards: int) -> None:
        self._settings, self._shards, self._told = settings, shards, shards < 2

    def note(self, forest: pl.DataFrame) -> None:
        """Look at a shard's trees."""
        if self._told or not forest.height:
            return
        self._told = True
        for line in cut_lines(count_cut(self._settings, [forest])):
            say(f"search: first of {self._shards} shards: {line}")


def _many(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {tree: one for tree, one in counts.items() if one["cut"] > MANY * one["solutions"]}


def _share(one: Mapping[str, Any]) -> float:
    return 100.0 * float(one["cut"]) / float(one["solutions"])
