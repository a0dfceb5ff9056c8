"""EDU sampling (arXiv 2503.22233): decode greedily, fork into the top two tokens where entropy is high.

The top-1 child of a fork is the greedy path itself, so a fork costs one new path from the runner-up token on. Every
path is decoded to its end in one request; its anchors then wait as forks, and `order` says which is taken next:

* `chronological`: the smallest position first, as a decoding of all branches in lock-step would meet them (the paper).
* `best_first`: the highest entropy first.

Ties go to the smaller position, then to the branch found earlier. The runner-up token of a fork is not forked again.
Not in the paper, so ours: the caps of `Budget`, and that the first token may be an anchor.
"""

from __future__ import annotations

import heapq
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from eduprm.search.branches import Branch, CutRule
from eduprm.search.budget import Budget
from eduprm.search.contract import Continuation, Engine, Request, TokenDecoder
from eduprm.search.strategies import as_branch

Order = Literal["chronological", "best_first"]


class EduSampling(BaseModel):
    """Entropy-driven forking.

    Examples:
        >>> EduSampling(threshold=0.5, budget=Budget(max_leaves=4)).tree
        'edu'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["edu"] = "edu"
    threshold: float = Field(default=1.0, ge=0.0, description="nats; a position above it is an anchor")
    skip_symbols: bool = Field(
        default=True, description="no anchor where the greedy token is white space or punctuation alone"
    )
    order: Order = Field(default="best_first", description="which waiting fork is taken next")
    budget: Budget = Field(default_factory=Budget, description="caps on one tree")

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "edu"

    @property
    def cut(self) -> CutRule:
        """Paths are cut at all anchors, forked or not."""
        return CutRule(threshold=self.threshold, skip_symbols=self.skip_symbols)

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, decoder: TokenDecoder
    ) -> list[Branch]:
        """Branches in the order they were found; the first is the greedy path."""
        growth = _Growth(self, prompt_ids, problem_id, engine, decoder)
        return await growth.run()


class _Growth:
    """One tree on its way."""

    def __init__(
        self,
        strategy: EduSampling,
        prompt_ids: tuple[int, ...],
        problem_id: str,
        engine: Engine,
        decoder: TokenDecoder,
    ) -> None:
        self._strategy = strategy
        self._budget = strategy.budget
        self._prompt_ids = prompt_ids
        self._group = problem_id
        self._engine = engine
        self._decoder = decoder
        self._branches: list[Branch] = []
        # Heap of (priority..., branch number, position).
        self._waiting: list[tuple[float, int, int, int]] = []
        self._num_tokens = 0

    async def run(self) -> list[Branch]:
        budget = self._budget
        first = await self._engine.generate(
            Request(prefix_ids=self._prompt_ids, max_new_tokens=self._room(0), group=self._group)
        )
        self._take(as_branch(first))
        while self._waiting and len(self._branches) < budget.max_leaves and self._room(0) > 0:
            *_, number, position = heapq.heappop(self._waiting)
            parent = self._branches[number]
            if not self._may_fork(parent, position):
                continue
            parent.forks.append(position)
            self._take(await self._fork(parent, position))
        return self._branches

    def _room(self, length: int) -> int:
        """Tokens that a path of `length` tokens may still add."""
        room = self._budget.max_tokens_per_path - length
        if self._budget.max_total_tokens is not None:
            room = min(room, self._budget.max_total_tokens - self._num_tokens)
        return room

    def _take(self, branch: Branch) -> None:
        """Add a finished branch and queue its anchors."""
        number = len(self._branches)
        self._branches.append(branch)
        self._num_tokens += len(branch.token_ids)
        for position in self._strategy.cut.anchors(branch, self._decoder, stop_ids=self._engine.stop_ids):
            if branch.parent is not None and position == branch.start:
                continue  # its first token is the runner-up of the fork it came from
            entropy = float(branch.entropies[position - branch.start])
            priority = -entropy if self._strategy.order == "best_first" else float(position)
            heapq.heappush(self._waiting, (priority, position, number, position))

    def _may_fork(self, parent: Branch, position: int) -> bool:
        cap = self._budget.max_forks_per_path
        if cap is None:
            return True
        # A fork lies on the new path and on every finished path that runs through its position.
        through = [branch for branch in self._branches if _runs_through(branch, parent, position)]
        before = forks_before(parent, position)
        return before < cap and all(forks_before(branch, branch.stop) < cap for branch in through)

    async def _fork(self, parent: Branch, position: int) -> Branch:
        """Decode the path that takes the runner-up token at `position`."""
        at = position - parent.start
        token = int(parent.runner_up_ids[at])
        done: Continuation | None = None
        room = self._room(position) - 1
        if token not in self._engine.stop_ids and room > 0:
            done = await self._engine.generate(
                Request(
                    prefix_ids=(*self._prompt_ids, *parent.path_ids(position), token),
                    max_new_tokens=room,
                    group=self._group,
                )
            )
        # The first token's measurements are the fork's: the same distribution, its second choice taken.
        head = Branch(
            parent=parent,
            start=position,
            token_ids=np.array([token], np.int32),
            logprobs=parent.runner_up_logprobs[at : at + 1],
            entropies=parent.entropies[at : at + 1],
            runner_up_ids=parent.token_ids[at : at + 1],
            runner_up_logprobs=parent.logprobs[at : at + 1],
            finish="stop" if token in self._engine.stop_ids else "length",
        )
        return head if done is None else _extended(head, done)


def forks_before(branch: Branch, position: int) -> int:
    """Forks on the path of `branch` at positions below `position`."""
    count = sum(fork < position for fork in branch.forks)
    if branch.parent is not None:
        # The fork it came from lies on its own path too.
        count += forks_before(branch.parent, min(branch.start + 1, position))
    return count


def _runs_through(branch: Branch, parent: Branch, position: int) -> bool:
    """Whether the path of `branch` holds `parent`'s own token at `position`."""
    stop = branch.stop
    node: Branch | None = branch
    while node is not None and node is not parent:
        stop = node.start
        node = node.parent
    return node is parent and position < stop


def _extended(head: Branch, done: Continuation) -> Branch:
    return Branch(
        parent=head.parent,
        start=head.start,
        token_ids=np.concatenate([head.token_ids, done.token_ids]),
        logprobs=np.concatenate([head.logprobs, done.logprobs]),
        entropies=np.concatenate([head.entropies, done.entropies]),
        runner_up_ids=np.concatenate([head.runner_up_ids, done.runner_up_ids]),
        runner_up_logprobs=np.concatenate([head.runner_up_logprobs, done.runner_up_logprobs]),
        finish=done.finish,
    )
