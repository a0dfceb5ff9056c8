"""The growing of one EDU tree: paths decoded to their ends, waiting forks in a heap, the caps of a budget.

For the strategies `edu`, `p_edu` and `distinct_leaves`, which say what to fork and when to stop.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from eduprm.search.branches import Branch, as_branch
from eduprm.search.budget import Budget
from eduprm.search.contract import Completion, Engine, Request, Tokenizer

if TYPE_CHECKING:
    from eduprm.search.strategies.edu import EduSampling


Options = TypeVar("Options", bound="EduSampling")


class TreeGrowth(Generic[Options]):
    """One tree on its way, by a strategy's options.

    Overridden by others: `_greedy_path` and `_decoded` (how the first path and that of a fork come about), `_forkable`
    (which anchors wait as forks), `_priority` (which is taken next) and `_num_leaves` (what counts towards
    `max_leaves`).
    """

    def __init__(
        self,
        strategy: Options,
        prompt_ids: tuple[int, ...],
        problem_id: str,
        engine: Engine,
        tokenizer: Tokenizer,
    ) -> None:
        self._strategy = strategy
        self._budget = strategy.budget
        self._prompt_ids = prompt_ids
        self._group = problem_id
        self._engine = engine
        self._tokenizer = tokenizer
        self._branches: list[Branch] = []
        # Heap of (priority..., branch number, position).
        self._waiting: list[tuple[float, int, int, int]] = []
        self._num_tokens = 0

    async def run(self) -> list[Branch]:
        """Grow the tree; branches in the order found, the greedy path first."""
        self._take(await self._greedy_path())
        while chosen := self._next_round():
            for branch in await self._decode_round(chosen):
                self._take(branch)
        return self._branches

    async def _greedy_path(self) -> Branch:
        request = Request(prefix_ids=self._prompt_ids, max_new_tokens=self._room(0), group=self._group)
        return as_branch(await self._engine.generate(request), greedy=True)

    def _num_leaves(self) -> int:
        return len(self._branches)

    async def _decode_round(self, chosen: list[Fork]) -> list[Branch]:
        if len(chosen) == 1:
            # No task of its own: the next fork is asked for before the embedded engine's next step.
            return [await self._decoded(chosen[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._decoded(fork)) for fork in chosen]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    def _next_round(self) -> list[Fork]:
        """The waiting forks to be decoded next, the best first; none when the tree is finished."""
        chosen: list[Fork] = []
        places = min(self._strategy.parallel_forks, self._budget.max_leaves - self._num_leaves())
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
        for position in self._forkable(branch):
            heapq.heappush(self._waiting, (self._priority(branch, position), position, number, position))

    def _priority(self, branch: Branch, position: int) -> float:
        """Of a fork; the smallest is taken first."""
        entropy = float(branch.entropies[position - branch.start])
        return -entropy if self._strategy.order == "best_first" else float(position)

    def _forkable(self, branch: Branch) -> list[int]:
        """Anchors of a branch at which others may leave it."""
        found = self._strategy.cut.anchors(branch, self._tokenizer, stop_ids=self._engine.stop_ids)
        # A fork's first token is the runner-up of the fork it came from.
        return [position for position in found if branch.parent is None or position > branch.start]

    def _may_fork(self, parent: Branch, position: int, heads: list[Branch]) -> bool:
        cap = self._budget.max_forks_per_path
        if cap is None:
            return True
        # A fork lies on the new path and on every path that runs through its position, this round's included.
        through = [b for b in (*self._branches, *heads) if runs_through(b, parent, position)]
        before = forks_before(parent, position)
        return before < cap and all(forks_before(branch, branch.stop) < cap for branch in through)

    def _fork(self, parent: Branch, position: int, room: int) -> Fork:
        """The path that takes the runner-up token at `position`, still to be decoded beyond that token."""
        head = runner_up(parent, position, stop_ids=self._engine.stop_ids)
        if head.finish == "stop" or room < 2:
            return Fork(head, None)
        prefix = (*self._prompt_ids, *head.path_ids())
        return Fork(head, Request(prefix_ids=prefix, max_new_tokens=room - 1, group=self._group))

    async def _decoded(self, fork: Fork) -> Branch:
        if fork.request is None:
            return fork.head
        return extended(fork.head, await self._engine.generate(fork.request))


class Fork(NamedTuple):
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
    count = 0
    node: Branch | None = branch
    while node is not None:
        count += sum(fork < position for fork in node.forks)
        # The fork it came from lies on its own path too.
        position, node = min(node.start + 1, position), node.parent
    return count


def runs_through(branch: Branch, parent: Branch, position: int) -> bool:
    """Whether the path of `branch` holds `parent`'s own token at `position`."""
    stop = branch.stop
    node: Branch | None = branch
    while node is not None and node is not parent:
        stop = node.start
        node = node.parent
    return node is parent and position < stop


def runner_up(parent: Branch, position: int, *, stop_ids: frozenset[int]) -> Branch:
    """The branch of one token that leaves `parent` at `position` with the second choice there."""
    at = position - parent.start
    token = int(parent.runner_up_ids[at])
    upper = parent.entropies_upper
    # The first token's measurements are the fork's: the same distribution, its second choice taken.
    return Branch(
        parent=parent,
        start=position,
        token_ids=np.array([token], np.int32),
        logprobs=parent.runner_up_logprobs[at : at + 1],
        entropies=parent.entropies[at : at + 1],
        runner_up_ids=parent.token_ids[at : at + 1],
        runner_up_logprobs=parent.logprobs[at : at + 1],
        finish="stop" if token in stop_ids else "length",
        entropies_upper=None if upper is None else upper[at : at + 1],
    )


def extended(head: Branch, done: Completion) -> Branch:
    """A branch with a completion of its path behind it."""
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
