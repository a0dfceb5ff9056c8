"""What went wrong between a run and its SGLang server, by cause: in the stage's record, on the terminal, on the page.

Counts stand in the record of stage `search` and add up over the starts of a run. They are written with every shard, so
a run killed by SIGKILL loses those since its last shard, and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.pipeline.run_folder import RunFolder
from eduprm.report import Table

if TYPE_CHECKING:
    from eduprm.search.sglang import SglangServer

_KINDS = {
    "retried": ("request sent again", "requests sent again"),
    "given_up": (
        "request given up after its last attempt; a later start of the run grew its tree",
        "requests given up after their last attempt, their trees left to the next start",
    ),
    "rejected_for": ("tree that could not be grown", "trees rejected for good"),
}


class ServerFaults:
    """The counts of a run: those of earlier starts, and this start's on top.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        before = folder.facts("search").get("server_faults", {})
        self._before = {kind: Counter(before.get(kind, {})) for kind in ("retried", "given_up")}

    def note(self, engine: SglangServer) -> None:
        """Write what this start's client has counted so far."""
        own = {"retried": engine.retried, "given_up": engine.given_up}
        total = {kind: dict(sorted((before + own[kind]).items())) for kind, before in self._before.items()}
        if self._folder.facts("search").get("server_faults") != total:
            self._folder.note("search", {"server_faults": total})


def rejected_for(rejected: pl.DataFrame) -> dict[str, int]:
    """Trees by the reason of their rejection; numbers in it but a status, a prompt's tokens say, are left out.

    Examples:
        >>> reasons = ["prefix of 9 tokens exceeds 8", "prefix of 12 tokens exceeds 8"]
        >>> rejected_for(pl.DataFrame({"reason": reasons}))
        {'prefix of … tokens exceeds …': 2}
    """
    counts = Counter(re.sub(r"(?<!answered )\b\d+(\.\d+)?", "…", reason) for reason in rejected["reason"])
    return dict(sorted(counts.items()))


def fault_lines(facts: Mapping[str, Any]) -> list[str]:
    """A line for each kind of fault that came up, from the record of stage `search`.

    Examples:
        >>> fault_lines({"server_faults": {"retried": {"no JSON": 1, "status 503": 2}, "given_up": {}}})
        ['requests sent again: 3 (no JSON: 1, status 503: 2)']
    """
    return [
        f"{_KINDS[kind][1]}: {sum(counts.values())} ({', '.join(f'{cause}: {n}' for cause, n in counts.items())})"
        for kind, counts in _counts(facts).items()
    ]


def fault_tables(facts: Mapping[str, Any]) -> list[Table]:
    """The same for report.html: no table where nothing went wrong."""
    rows = [
        [_KINDS[kind][0], cause, f"{count:,}"]
        for kind, counts in _counts(facts).items()
        for cause, count in counts.items()
    ]
    if not rows:
        return []
    note = "While the trees were grown, over all starts of the run. No tree counts twice: a request is answered once."
    return [
        Table(title="What went wrong while growing", columns=["what", "cause", "count"], rows=rows, note=note)
    ]


def _counts(facts: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    there = {**facts.get("server_faults", {}), "rejected_for": facts.get("rejected_for", {})}
    return {kind: there[kind] for kind in _KINDS if there.get(kind)}
