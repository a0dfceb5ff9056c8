"""Whether a server continues prefixes from its prefix cache as it does without: forks of grown trees, decoded again.

A fork was asked for with a prefix that the server mostly held. Each chosen one is decoded twice more, alone: once
afresh (`SglangServer.generate`), once as in growth. Afresh against the second tells what the cache changes and nothing
else; afresh against the tree also tells what the other rows of the batch changed while the tree grew. Float arithmetic
makes both differ where two tokens are as good as equal, so the margin of the two log-probs is given with each
difference: a wide one is a fault of the server, as in sgl-project/sglang#34683.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eduprm.core.seeds import derive_seed
from eduprm.search.contract import Completion, Request, RequestError, TransientError
from eduprm.search.sglang.server import SglangServer

__all__ = ["GrownFork", "check_forks", "pick_forks"]

_TREE = ["problem_id", "tree"]


class GrownFork(NamedTuple):
    """A fork of a tree: what was asked for, prompt and runner-up token included, and what came, to the path's end."""

    problem_id: str
    tree: str
    node_id: int
    prefix_ids: tuple[int, ...]
    token_ids: NDArray[np.int32]
    entropies: NDArray[np.float32]


def pick_forks(
    forests: Iterable[pl.DataFrame],
    *,
    trees: Collection[str],
    prompts: Mapping[str, Sequence[int]],
    count: int,
    seed: int,
) -> list[GrownFork]:
    """Forks by a hash of seed, problem, tree and node: the same ones however the forest is split into frames.

    Args:
        forests: node tables, each tree whole in one of them.
        trees: names of the trees whose forks were decoded greedily.
        prompts: token ids by problem.
        count: most forks.
        seed: of the choice.

    Returns:
        At most `count`, by their hash.
    """
    found = ((key, fork) for forest in forests for key, fork in _forks(forest, trees, prompts, count, seed))
    return [fork for _, fork in heapq.nsmallest(count, found, key=lambda one: one[0])]


def _forks(
    forest: pl.DataFrame, trees: Collection[str], prompts: Mapping[str, Sequence[int]], count: int, seed: int
) -> Iterator[tuple[int, GrownFork]]:
    """The forks of the smallest hashes in one table."""
    nodes = forest.filter(pl.col("tree").is_in(list(trees)))
    # In preorder the first child goes on with its parent's path, and each other one took a runner-up token. A path of
    # that token alone was never asked for.
    forks = nodes.filter(
        pl.col("parent_id").is_not_null()
        & (pl.col("node_id") > pl.col("node_id").min().over(*_TREE, "parent_id"))
        & ((pl.col("token_ids").list.len() > 1) | pl.col("finish").is_null())
    )
    keys = ((derive_seed(seed, *row), row) for row in forks.select(*_TREE, "node_id").iter_rows())
    chosen = heapq.nsmallest(count, keys)
    wanted = pl.DataFrame([row[:2] for _, row in chosen], schema=_TREE, orient="row").unique()
    whole = nodes.join(wanted, on=_TREE, how="semi").partition_by(_TREE, as_dict=True)
    for key, (problem_id, tree, node_id) in chosen:
        yield key, _fork(whole[problem_id, tree], problem_id, tree, node_id, prompts[problem_id])


def _fork(tree: pl.DataFrame, problem_id: str, name: str, node_id: int, prompt: Sequence[int]) -> GrownFork:
    rows = {row["node_id"]: row for row in tree.iter_rows(named=True)}
    first_child: dict[int, int] = {}
    for number in sorted(rows):
        first_child.setdefault(rows[number]["parent_id"], number)
    before: list[int] = []
    above = rows[node_id]["parent_id"]
    while above is not None:
        before = [*rows[above]["token_ids"], *before]
        above = rows[above]["parent_id"]
    ids: list[int] = []
    entropies: list[float] = []
    at: int | None = node_id
    while at is not None:
        ids += rows[at]["token_ids"]
        entropies += rows[at]["entropies"]
        at = first_child.get(at)
    prefix = (*prompt, *before, ids[0])
    return GrownFork(
        problem_id, name, node_id, prefix, np.array(ids[1:], np.int32), np.array(entropies[1:], np.float32)
    )


async def check_forks(forks: Sequence[GrownFork], server: SglangServer) -> dict[str, Any]:
    """Decode forks again, one at a time, and compare.

    Args:
        forks: of trees that this server's model has grown.
        server: entered.

    Returns:
        For JSON. `checked`: forks compared. `unanswered`: the server gave no answer. `cached_anyway`: it used its cache
        although it was asked not to, so nothing is compared. `against_tree` and `against_cache`: `differ`, a list of
        problem, tree, node, token (from 0 behind the prefix) and `margin_nats` (of the two most probable tokens there,
        afresh); `tokens` compared, up to a first difference; `entropy_max_nats` and `entropy_median_nats`, of the
        absolute differences at these tokens, None without any. `reused_tokens`: of the prefixes, the second time.

    Raises:
        EngineMismatchError: the server is not what was asked for.
    """
    compared = {name: _Compared() for name in ("against_tree", "against_cache")}
    counts = dict.fromkeys(("checked", "unanswered", "cached_anyway", "prefix_tokens", "reused_tokens"), 0)
    for fork in forks:
        request = Request(
            prefix_ids=fork.prefix_ids, max_new_tokens=len(fork.token_ids), group=fork.problem_id
        )
        try:
            afresh = await server.generate(request, afresh=True)
            cached = await server.generate(request)
        except (RequestError, TransientError):
            counts["unanswered"] += 1
            continue
        if afresh.cached_tokens:
            counts["cached_anyway"] += 1
            continue
        counts["checked"] += 1
        counts["prefix_tokens"] += len(fork.prefix_ids)
        counts["reused_tokens"] += cached.cached_tokens
        compared["against_tree"].add(fork, afresh, fork.token_ids, fork.entropies)
        compared["against_cache"].add(fork, afresh, cached.token_ids, cached.entropies)
    return {**counts, **{name: one.facts() for name, one in compared.items()}}


class _Compared:
    """Differences of continuations to those decoded afresh."""

    def __init__(self) -> None:
        self._differ: list[dict[str, Any]] = []
        self._errors: list[NDArray[np.float64]] = []

    def add(
        self, fork: GrownFork, afresh: Completion, ids: NDArray[np.int32], entropies: NDArray[np.float32]
    ) -> None:
        """Compare one; `ids` and `entropies` are the other continuation's."""
        shared = min(len(ids), len(afresh.token_ids))
        unlike = np.flatnonzero(ids[:shared] != afresh.token_ids[:shared])
        at = int(unlike[0]) if len(unlike) else shared
        # The choice at the first token that differs was made from a distribution behind the same tokens.
        same = min(at + 1, shared)
        self._errors.append(np.abs(entropies[:same].astype(np.float64) - afresh.entropies[:same]))
        if len(unlike):
            margin = float(abs(afresh.logprobs[at] - afresh.runner_up_logprobs[at]))
            place = {"problem_id": fork.problem_id, "tree": fork.tree, "node_id": fork.node_id, "token": at}
            self._differ.append({**place, "margin_nats": margin})

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        errors = np.concatenate([np.zeros(0), *self._errors])
        return {
            "differ": self._differ,
            "tokens": len(errors),
            "entropy_max_nats": float(errors.max()) if len(errors) else None,
            "entropy_median_nats": float(np.median(errors)) if len(errors) else None,
        }
