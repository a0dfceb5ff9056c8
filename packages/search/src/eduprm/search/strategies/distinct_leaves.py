"""Distinct leaf enumeration (DLE, arXiv 2604.20500): truncated sampling's tree, its leaves each once, without drawing.

Tokens that truncated sampling would never draw are cut off; of the tree that remains, leaves are enumerated, each a
path not seen before, and prefixes are shared. A branch that equals a sibling for `same_tokens` tokens in a row is
stopped.
Our reading:

* An engine tells the two most probable tokens of a position, so at most one other token is left there: the runner-up,
  where it is at least `min_probability` times as probable as the greedy token (min-p truncation).
* The fork taken next is the one whose prefix, its runner-up token included, is most probable. Ties go to the smaller
  position, then to the branch found earlier; paths go on greedily.
* The sibling is the path that a branch left, and tokens are compared at equal positions from behind the fork. A stopped
  branch has finish "pruned", is no leaf of `max_leaves` and is not forked.
* `max_stopped` bounds the stopped branches, and the caps of `Budget` are EDU sampling's.

The threshold says only where paths are cut into nodes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from pydantic import Field

from eduprm.search.branches import Branch
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.growth import Fork, TreeGrowth, extended
from eduprm.search.strategies.edu import EduSampling


class DistinctLeaves(EduSampling):
    """Enumerates the leaves of a truncated tree, the most probable fork first; `order` has no say.

    Examples:
        >>> DistinctLeaves(min_probability=0.2).tree
        'distinct-leaves'
    """

    min_probability: float = Field(
        default=0.1,
        gt=0.0,
        le=1.0,
        description="of a runner-up, as a share of the greedy token's; less probable ones are cut off",
    )
    same_tokens: int = Field(
        default=10, ge=1, description="tokens equal to the sibling's in a row that stop a branch"
    )
    max_stopped: int = Field(
        default=64, ge=0, description="stopped branches after which no more forks are taken"
    )

    @property
    def title(self) -> str:
        """As tables show it."""
        return "DLE"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "distinct-leaves"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Branches in the order they were found, stopped ones too; the first is the greedy path."""
        return await _LeafGrowth(self, prompt_ids, problem_id, engine, tokenizer).run()


Strategy = DistinctLeaves


class _LeafGrowth(TreeGrowth[DistinctLeaves]):
    """One tree on its way."""

    def _forkable(self, branch: Branch) -> list[int]:
        """Positions whose runner-up is not cut off; a fork's own first token has no third choice."""
        if branch.finish == "pruned":
            return []
        likely = branch.runner_up_logprobs >= branch.logprobs + math.log(self._strategy.min_probability)
        likely[0] &= branch.parent is None
        return [branch.start + int(index) for index in np.flatnonzero(likely)]

    def _priority(self, branch: Branch, position: int) -> float:
        at = position - branch.start
        return -(_logprob(branch, position) + float(branch.runner_up_logprobs[at]))

    async def _decoded(self, fork: Fork) -> Branch:
        branch, request = fork
        while request is not None:
            size = min(self._strategy.same_tokens, request.max_new_tokens)
            done = await self._engine.generate(replace(request, max_new_tokens=size))
            branch = extended(branch, done)
            if self._equals_sibling(branch):
                return replace(branch, finish="pruned")
            left = request.max_new_tokens - len(done.token_ids)
            if done.finish == "stop" or left < 1:
                break
            ids = (*request.prefix_ids, *done.token_ids.tolist())
            request = replace(request, prefix_ids=ids, max_new_tokens=left)
        return branch

    def _equals_sibling(self, branch: Branch) -> bool:
        """Whether the branch has, behind its fork, `same_tokens` tokens in a row as the path that it left."""
        assert branch.parent is not None
        other = branch.parent.token_ids[branch.start - branch.parent.start + 1 :]
        own = branch.token_ids[1:]
        length = min(len(own), len(other))
        run = 0
        for same in (own[:length] == other[:length]).tolist():
            run = run + 1 if same else 0
            if run == self._strategy.same_tokens:
                return True
        return False

    def _num_leaves(self) -> int:
        stopped = sum(branch.finish == "pruned" for branch in self._branches)
        if stopped >= self._strategy.max_stopped:
            return self._budget.max_leaves
        return len(self._branches) - stopped


def _logprob(branch: Branch, position: int) -> float:
    """Log-probability of the path's tokens before `position`."""
    parts: list[float] = []
    node: Branch | None = branch
    while node is not None:
        parts.append(float(node.logprobs[: max(position - node.start, 0)].sum(dtype=np.float64)))
        position, node = min(node.start, position), node.parent
    return sum(reversed(parts))
