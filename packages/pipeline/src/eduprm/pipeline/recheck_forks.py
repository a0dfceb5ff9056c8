"""`--server.check-cache N`: forks of the run's trees, decoded again without the server's prefix cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from eduprm.core.progress import say
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.served import on_server
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.strategies import run_strategies
from eduprm.report import Table

_SHOWN = 5


def recheck_forks(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Facts for the record of stage `search`: `cache_check`, of `eduprm.search.sglang.cache_check.check_forks`.

    Says in a line what was found; does nothing with `check_cache` 0.

    Raises:
        UsageError: the server is not the one asked for.
    """
    count = settings.server.check_cache
    if not count:
        return {}
    from eduprm.search.sglang.cache_check import check_forks, pick_forks

    problems = pl.read_parquet(folder.path("problems.parquet"), columns=["problem_id", "prompt_token_ids"])
    forks = pick_forks(
        (pl.read_parquet(path) for path in sorted(folder.path("forest").glob("[!.]*.parquet"))),
        trees=[one.tree for one in run_strategies(settings) if one.greedy_forks],
        prompts=dict(problems.iter_rows()),
        count=count,
        seed=settings.seed,
    )
    found = on_server(settings, lambda server: check_forks(forks, server))
    say(f"search: {check_line(found)}")
    return {"cache_check": {"asked": count, **found}}


def check_line(found: Mapping[str, Any]) -> str:
    """What the check found, in one line."""
    left = [
        f"{found[name]} {what}"
        for name, what in (
            ("unanswered", "without an answer"),
            ("cached_anyway", "not checked, since the server used its cache all the same"),
        )
        if found[name]
    ]
    told = f"{found['checked']} forks decoded again without the server's prefix cache"
    told += f" ({', '.join(left)})" if left else ""
    if not found["checked"]:
        return f"{told}: nothing is known of the cache"
    return f"{told}: {_differences(found['against_tree'], 'trees')}; {_differences(found['against_cache'], 'cache')}"


def _differences(found: Mapping[str, Any], other: str) -> str:
    named = "than in their trees" if other == "trees" else "than alone with the cache"
    margins = sorted((one["margin_nats"] for one in found["differ"]), reverse=True)
    shown = ", ".join(f"{margin:.2g}" for margin in margins[:_SHOWN]) + (", ..." if margins[_SHOWN:] else "")
    at = f" (margins of the top two {shown} nats)" if margins else ""
    return (
        f"{len(margins)} continue differently {named}{at}, entropies of {found['tokens']} tokens differ by at most "
        f"{found['entropy_max_nats']:.2g} nats, median {found['entropy_median_nats']:.2g}"
    )


def check_tables(facts: Mapping[str, Any]) -> list[Table]:
    """The check for report.html, from the record of stage `search`: none where none was made."""
    found = facts.get("cache_check")
    if not found or not found["checked"]:
        return []
    rows = []
    for key, name in (("against_tree", "in the tree"), ("against_cache", "alone, with the cache")):
        one = found[key]
        margins = [each["margin_nats"] for each in one["differ"]]
        widest = f"{max(margins):.2g}" if margins else "–"
        errors = (f"{one[f'entropy_{which}_nats']:.2g}" for which in ("max", "median"))
        rows.append(
            [name, f"{found['checked']:,}", f"{len(margins):,}", widest, f"{one['tokens']:,}", *errors]
        )
    columns = [
        "compared with the fork",
        "forks",
        "continue differently",
        "widest margin there, nats",
        "tokens",
        "entropy differs at most, nats",
        "median",
    ]
    note = (
        "Forks decoded again without the server's prefix cache. Where the two most probable tokens are within rounding "
        f"of each other (margin), either may come. Without an answer: {found['unanswered']}; answered from the cache "
        f"all the same and left out: {found['cached_anyway']}."
    )
    return [Table(title="Forks without the server's prefix cache", columns=columns, rows=rows, note=note)]
