"""EDU sampling (arXiv 2503.22233): decode greedily, fork into the top two tokens where entropy is high.

The top-1 child of a fork is the greedy path itself, so a fork costs one new path from the runner-up token on. Every
path is decoded to its end in one request; its anchors then wait as forks, and `order` says which is taken next:

* `chronological`: the smallest position first, as a decoding of all branches in lock-step would meet them (the paper).
* `best_first`: the highest entropy first.

Ties go to the smaller position, then to the branch found earlier. The runner-up token of a fork is not forked again.
With `parallel_forks` above 1 the forks of a tree are taken in rounds: the best so many of those that wait are decoded
at once, and what they bring joins the queue when all of them have ended. Which trees come out depends on that number
and not on how fast an engine answers.
Not in the paper, so ours: the caps of `Budget`, the rounds, and that the first token may be an anchor.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
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
    parallel_forks: int = Field(
        default=1,
        ge=1,
        description="most forks of one tree decoded at once; above 1 the tree grows in rounds",
    )

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
        first = await self._engine.generate(
            Request(prefix_ids=self._prompt_ids, max_new_tokens=self._room(0), group=self._group)
        )
        self._take(as_branch(first))
        while chosen := self._next_round():
            for branch in await self._decode_round(chosen):
                self._take(branch)
        return self._branches

    async def _decode_round(self, chosen: list[_Fork]) -> list[Branch]:
        if len(chosen) == 1:
            # No task of its own: the next fork is asked for before the embedded engine's next step.
            return [await self._decoded(chosen[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._decoded(fork)) for fork in chosen]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    def _next_round(self) -> list[_Fork]:
        """The waiting forks to be decoded next, the best first; none when the tree is finished."""
        chosen: list[_Fork] = []
        places = min(self._strategy.parallel_forks, self._budget.max_leaves - len(self._branches))
        left = self._budget.max_total_tokens
        left = None if left is None else left - self._num_tokens
        while self._waiting and len(chosen) < places and (left is None or left > 0):
            entry = heapq.heappop(self._waiting)
            *_, number, position = entry
            parent = self._branches[number]
            if not self._may_fork(parent, position, [fork.head for fork in chosen]):
                continue
            room = round_room(self._budget, position, left, first=not chosen)
            if room is None:
                heapq.heappush(self._waiting, entry)
                break
            left = None if left is None else left - room
            parent.forks.append(position)
            chosen.append(self._fork(parent, position, room))
        return chosen

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
        for position in self._strategy.cut.anchors(branch, self._decoder):
            if branch.parent is not None and position == branch.start:
                continue  # its first token is the runner-up of the fork it came from
            entropy = float(branch.entropies[position - branch.start])
            priority = -entropy if self._strategy.order == "best_first" else float(position)
            heapq.heappush(self._waiting, (priority, position, number, position))

    def _may_fork(self, parent: Branch, position: int, heads: list[Branch]) -> bool:
        cap = self._budget.max_forks_per_path
        if cap is None:
            return True
        # A fork lies on the new path and on every path that runs through its position, this round's included.
        through = [b for b in (*self._branches, *heads) if _runs_through(b, parent, position)]
        before = forks_before(parent, position)
        return before < cap and all(forks_before(branch, branch.stop) < cap for branch in through)

    def _fork(self, parent: Branch, position: int, room: int) -> _Fork:
        """The path that takes the runner-up token at `position`, still to be decoded beyond that token."""
        at = position - parent.start
        token = int(parent.runner_up_ids[at])
        stops = token in self._engine.stop_ids
        upper = parent.entropies_upper
        # The first token's measurements are the fork's: the same distribution, its second choice taken.
        head = Branch(
            parent=parent,
            start=position,
            token_ids=np.array([token], np.int32),
            logprobs=parent.runner_up_logprobs[at : at + 1],
            entropies=parent.entropies[at : at + 1],
            runner_up_ids=parent.token_ids[at : at + 1],
            runner_up_logprobs=parent.logprobs[at : at + 1],
            finish="stop" if stops else "length",
            entropies_upper=None if upper is None else upper[at : at + 1],
        )
        if stops or room < 2:
            return _Fork(head, None)
        prefix = (*self._prompt_ids, *parent.path_ids(position), token)
        return _Fork(head, Request(prefix_ids=prefix, max_new_tokens=room - 1, group=self._group))

    async def _decoded(self, fork: _Fork) -> Branch:
        if fork.request is None:
            return fork.head
        return _extended(fork.head, await self._engine.generate(fork.request))


class _Fork(NamedTuple):
    """A branch of one token, and the request that brings the rest; None if there is no rest."""

    head: Branch
    request: Request | None


def round_room(budget: Budget, position: int, left: int | None, *, first: bool) -> int | None:
    """Most tokens that a fork at `position` may add, its own first token included.

    Args:
        budget: of the tree.
        position: of the fork.
        left: tokens of `max_total_tokens` that nobody has yet or might still take; None without that cap.
        first: whether it is the first of its round.

    Returns:
        None: the fork has to wait for a later round, since those before it might leave too little for it.
    """
    room = budget.max_tokens_per_path - position
    if left is None or room <= left:
        return room
    return left if first else None


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
        entropies_upper=_joined(head.entropies_upper, done.entropies_upper),
    )


def _joined(head: NDArray[np.float32] | None, rest: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if head is None or rest is None else np.concatenate([head, rest])
