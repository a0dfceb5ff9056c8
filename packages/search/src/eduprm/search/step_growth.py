"""A tree that grows from anchor to anchor: its branches, its budget, and what is asked of the engine.

For: strategies that look at each step before they go on (`beam`, `greedy_step`, `particle`), or that leave finished
paths at chosen ones (`mcts_edu`, `omega_prm`). An engine runs a request to its end, so a branch is asked for in
pieces until it holds an anchor; what a piece decoded behind it stays with the branch, and counts as cost. Branches
are decoded one after another, so `max_total_tokens` holds to the token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from eduprm.core.seeds import derive_seed
from eduprm.search.branches import Branch, CutRule, as_branch
from eduprm.search.budget import Budget
from eduprm.search.contract import Engine, Request, Tokenizer
from eduprm.search.growth import extended, forks_before, runner_up, runs_through

Scorer = Callable[[str, Sequence[tuple[int, ...]]], Awaitable[Sequence[float]]]
"""A `PrefixScorer` as the field of a strategy."""


class StepGrowth:
    """One tree on its way.

    Args:
        prompt_ids: of the problem.
        problem_id: group of the requests, and part of the seeds.
        engine: decodes.
        tokenizer: the policy's tokenizer.
        cut: says where anchors are.
        budget: caps on the tree; `max_leaves` counts solutions that ended, not branches given up.
        piece_tokens: tokens asked for at a time.
        temperature: of the draws; 0 decodes greedily.
        seed: of the draws.
    """

    def __init__(
        self,
        prompt_ids: tuple[int, ...],
        problem_id: str,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        cut: CutRule,
        budget: Budget,
        piece_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._prompt_ids, self._group = prompt_ids, problem_id
        self._engine, self._tokenizer = engine, tokenizer
        self._cut, self._budget, self._piece = cut, budget, piece_tokens
        self._temperature, self._seed = temperature, seed
        self._num_tokens = self._num_draws = 0
        self._open: list[Branch] = []
        self._ended: list[Branch] = []
        self._given_up: list[Branch] = []

    @property
    def full(self) -> bool:
        """Whether as many solutions have ended as the budget allows."""
        return len(self._ended) >= self._budget.max_leaves

    @property
    def num_ended(self) -> int:
        """Solutions that have ended."""
        return len(self._ended)

    def finished(self) -> list[Branch]:
        """Branches of the tree: solutions in the order in which they ended, then those given up.

        What has not ended by now is given up.
        """
        for branch in list(self._open):
            self.give_up(branch)
        return [*self._ended, *self._given_up]

    def may_start(self) -> bool:
        """Whether the budget allows another path from the prompt."""
        return not self.full and self._room(0) > 0

    async def start(self) -> Branch:
        """The first piece of a path from the prompt."""
        branch = as_branch(await self._engine.generate(self._request(self._prompt_ids, self._room(0))))
        return self._added(branch)

    def may_leave(self, parent: Branch, position: int) -> bool:
        """Whether the budget allows another branch from `parent` at `position`."""
        if self.full or self._room(position) < 1:
            return False
        cap = self._budget.max_forks_per_path
        if cap is None or position in parent.forks:
            return True
        # A fork lies on the new path and on every path that runs through its position.
        every = (*self._open, *self._ended, *self._given_up)
        through = [branch for branch in every if runs_through(branch, parent, position)]
        return forks_before(parent, position) < cap and all(
            forks_before(branch, branch.stop) < cap for branch in through
        )

    async def child(self, parent: Branch, position: int, number: int) -> Branch | None:
        """What goes on from a step that ends before `position`: 0 is `parent` itself, others leave it there.

        They take the second choice, or with a temperature a draw. None: the budget allows no other.
        """
        if not number:
            return parent
        if not self.may_leave(parent, position):
            return None
        if self._temperature:
            return await self.leave_by_draw(parent, position)
        return self.leave_by_runner_up(parent, position)

    def leave_by_runner_up(self, parent: Branch, position: int) -> Branch:
        """A branch that takes the second choice at `position`, to be decoded from there."""
        return self._added(runner_up(parent, position, stop_ids=self._engine.stop_ids))

    async def leave_by_draw(self, parent: Branch, position: int) -> Branch:
        """The first piece of a branch drawn anew from `position` on."""
        prefix = (*self._prompt_ids, *parent.path_ids(position))
        done = await self._engine.generate(self._request(prefix, self._room(position)))
        return self._added(replace(as_branch(done), parent=parent, start=position))

    async def next_anchor(self, branch: Branch, after: int) -> int | None:
        """Position of the branch's first anchor behind `after`, decoded up to there if need be.

        None: there is none, the branch has ended and is a solution of the tree.
        """
        while True:
            found = self._cut.anchors(branch, self._tokenizer, stop_ids=self._engine.stop_ids)
            later = [position for position in found if position > max(after, branch.start - 1)]
            if later:
                return later[0]
            room = self._room(branch.stop)
            if branch.finish == "stop" or room < 1:
                self._open.remove(branch)
                self._ended.append(branch)
                return None
            prefix = (*self._prompt_ids, *branch.path_ids())
            done = await self._engine.generate(self._request(prefix, room))
            _lengthen(branch, extended(branch, done))
            self._num_tokens += len(done.token_ids)

    async def to_end(self, branch: Branch) -> list[int]:
        """Decode the branch to its end: a solution of the tree. Its anchors behind its first token are returned."""
        anchors: list[int] = []
        after = branch.start if branch.parent is not None else branch.start - 1
        while (position := await self.next_anchor(branch, after)) is not None:
            anchors.append(position)
            after = position
        return anchors

    def give_up(self, branch: Branch) -> None:
        """End a branch that is no solution."""
        branch.finish = "pruned"
        self._open.remove(branch)
        self._given_up.append(branch)

    def _added(self, branch: Branch) -> Branch:
        if branch.parent is not None and branch.start not in branch.parent.forks:
            branch.parent.forks.append(branch.start)
        self._num_tokens += len(branch.token_ids)
        self._open.append(branch)
        return branch

    def _room(self, length: int) -> int:
        """Tokens that a path of `length` tokens may still add."""
        room = self._budget.max_tokens_per_path - length
        if self._budget.max_total_tokens is not None:
            room = min(room, self._budget.max_total_tokens - self._num_tokens)
        return room

    def _request(self, prefix: tuple[int, ...], room: int) -> Request:
        self._num_draws += 1
        return Request(
            prefix_ids=prefix,
            max_new_tokens=min(self._piece, room),
            temperature=self._temperature,
            seed=derive_seed(self._seed, self._group, self._num_draws) if self._temperature else 0,
            group=self._group,
        )


async def step_scores(scorer: Scorer, problem_id: str, stands: Sequence[tuple[Branch, int]]) -> list[float]:
    """The PRM's scores of branches up to these positions; what is no number counts as 0.

    Raises:
        ValueError: another number of scores came back.
    """
    prefixes = [branch.path_ids(position) for branch, position in stands]
    scores = await scorer(problem_id, prefixes)
    if len(scores) != len(prefixes):
        raise ValueError(f"expected a score for each of {len(prefixes)} prefixes, got {len(scores)}")
    return [float(score) if score == score else 0.0 for score in scores]


def _lengthen(branch: Branch, longer: Branch) -> None:
    """Give a branch, which others may have left already, the tokens of its longer self."""
    branch.token_ids, branch.logprobs, branch.entropies = longer.token_ids, longer.logprobs, longer.entropies
    branch.runner_up_ids, branch.runner_up_logprobs = longer.runner_up_ids, longer.runner_up_logprobs
    branch.entropies_upper, branch.finish, branch.anchors = longer.entropies_upper, longer.finish, None
