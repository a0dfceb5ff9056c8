"""The bound of P-EDU as a quantile of the PRM's own scores, on beginnings of the run's training trees.

Those of the first `TREES` training trees, which are grown before any held-out tree is begun: so the bound is one number
for the run, whatever the order in which trees grow, and no held-out question has a part in it. A beginning is what
P-EDU asks about: a path up to an anchor behind the first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

import polars as pl

from eduprm.core.command_line import UsageError
from eduprm.core.progress import say
from eduprm.search import PrefixScorer

TREES = 64


class QuantileScorer:
    """A `PrefixScorer` that also knows which score so many of the beginnings lie below.

    Args:
        scorer: the PRM.
        forests: gives the training trees, a frame a shard; called when a quantile is first asked for.
    """

    def __init__(self, scorer: PrefixScorer, forests: Callable[[], Iterable[pl.DataFrame]]) -> None:
        self._scorer, self._forests = scorer, forests
        self._scores: list[float] | None = None
        self._reading: asyncio.Task[list[float]] | None = None

    async def __call__(self, problem_id: str, prefixes: Sequence[tuple[int, ...]]) -> Sequence[float]:
        """One score per prefix of generated token ids."""
        return await self._scorer(problem_id, prefixes)

    async def quantile(self, share: float) -> float:
        """The score that at most this share of the beginnings lie below.

        Raises:
            UsageError: no training trees with a fork.
        """
        if self._scores is None:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read(share))
            # Trees grow side by side: those that ask meanwhile wait for the first one's answer.
            self._scores = await asyncio.shield(self._reading)
        return score_quantile(self._scores, share)

    async def _read(self, share: float) -> list[float]:
        scores: list[float] = []
        for problem_id, prefixes in beginnings(self._forests()):
            scores += await self._scorer(problem_id, prefixes)
        if not scores:
            raise UsageError(
                "stop_quantile: expected training trees with anchors, got none; lower the threshold at which they "
                "fork, or give stop_below"
            )
        scores.sort()
        bound = score_quantile(scores, share)
        say(
            f"search: stop_quantile {share:g} of {len(scores)} beginnings of training trees: bound {bound:.4g}"
        )
        return scores


def score_quantile(rising: Sequence[float], share: float) -> float:
    """The largest of the scores that at most `share` of them lie below.

    Examples:
        >>> score_quantile([0.1, 0.2, 0.3, 0.4, 0.5], 0.2), score_quantile([0.1, 0.9], 0.2)
        (0.2, 0.1)
    """
    return rising[min(int(share * len(rising)), len(rising) - 1)]


def beginnings(forests: Iterable[pl.DataFrame]) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """Problem ids and distinct paths to the ends of the inner nodes of the first `TREES` trees, empty ones left out."""
    count = 0
    for frame in forests:
        for (problem_id, _), nodes in frame.group_by(["problem_id", "tree"], maintain_order=True):
            if count == TREES:
                return
            count += 1
            yield str(problem_id), _inner(nodes)


def _inner(nodes: pl.DataFrame) -> list[tuple[int, ...]]:
    paths: dict[int, tuple[int, ...]] = {}
    for node, parent, ids in nodes.select("node_id", "parent_id", "token_ids").iter_rows():
        paths[node] = (*(() if parent is None else paths[parent]), *ids)
    inner = set(nodes["parent_id"].drop_nulls())
    return list(dict.fromkeys(path for node, path in paths.items() if node in inner and path))
