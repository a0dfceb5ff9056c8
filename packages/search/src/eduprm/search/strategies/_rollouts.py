"""Solutions and rollouts from the ends of their steps: what the strategies `rollouts` and `uncertain_first` share.

A tree holds `solutions` independent draws below an empty root. At the end of a step that a strategy visits, `rollouts`
further draws leave the solution and run to their own ends. So a solution goes on as the first child of each of its
nodes, and the other children are rollouts: the label rule `rollouts` reads the tree by that. What ends a step say the
segmenters of `steps`, by the same function that cuts the trees for their labels (`eduprm.search.steps`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from eduprm.core.seeds import derive_seed
from eduprm.search.branches import Branch, as_branch, to_rows
from eduprm.search.contract import Engine, Request, Tokenizer
from eduprm.search.steps import step_begins
from eduprm.search.strategies._contract import Paths
from eduprm.segment import joint_segmenter


class Step(NamedTuple):
    """A step of a solution that is not its last: the solution's number, and the step's positions, end not included."""

    solution: int
    start: int
    stop: int


class RolloutOptions(Paths):
    """Options of strategies that complete solutions from the ends of their steps."""

    never_greedy: ClassVar[bool] = True

    steps: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=lambda: {"lines": {}},
        description="segmenters that end a step, with the options of each",
    )
    solutions: int = Field(default=2, ge=1, description="draws from the prompt, whose steps are valued")
    rollouts: int = Field(default=8, ge=1, description="draws from the end of each step that is visited")
    temperature: float = Field(default=0.7, gt=0.0, description="of the softmax the tokens are drawn from")
    seed: int = Field(default=0, description="of the draws")

    @field_validator("steps")
    @classmethod
    def _made(cls, value: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
        joint_segmenter(value)
        return value

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """The solutions, then the rollouts of the steps in the order in which they are visited."""
        draws = _Draws(self, prompt_ids, problem_id, engine)
        prompt = [_Draw(None, 0, ("solution", number)) for number in range(self.solutions)]
        solutions = await draws.done(prompt)
        steps = [
            Step(number, start, stop)
            for number, branch in enumerate(solutions)
            for start, stop in self._steps_of(branch, tokenizer, engine.stop_ids)
        ]
        wanted = [
            _Draw(solutions[step.solution], step.stop, ("rollout", step.solution, step.stop, number))
            for step in self.visits(solutions, steps)
            for number in range(self.rollouts)
        ]
        return [*solutions, *await draws.done(wanted)]

    def visits(self, solutions: Sequence[Branch], steps: Sequence[Step]) -> Sequence[Step]:
        """The steps to draw rollouts from, in order; `steps` are those of all solutions."""
        raise NotImplementedError

    def _steps_of(
        self, branch: Branch, tokenizer: Tokenizer, stop_ids: frozenset[int]
    ) -> list[tuple[int, int]]:
        """Where the steps of a solution begin and end, the last one left out."""
        rows = to_rows(
            [branch], problem_id="", tree="", cut=self.cut, tokenizer=tokenizer, stop_ids=stop_ids
        ).to_dicts()
        found, before = [0], 0
        for row, own in zip(
            rows, step_begins(rows, {"any": joint_segmenter(self.steps)}, tokenizer), strict=True
        ):
            found += sorted(before + at for at in own["any"])
            before += len(row["token_ids"])
        return list(pairwise(found))


class _Draw(NamedTuple):
    """A path to draw from `parent` before `position`, or from the prompt; `names` are parts of its seed."""

    parent: Branch | None
    position: int
    names: tuple[int | str, ...]


class _Draws:
    """Draws of one tree, within its budget."""

    def __init__(
        self, options: RolloutOptions, prompt_ids: tuple[int, ...], problem_id: str, engine: Engine
    ) -> None:
        self._options, self._prompt_ids, self._group, self._engine = options, prompt_ids, problem_id, engine
        self._left = options.max_total_tokens

    async def done(self, wanted: Sequence[_Draw]) -> list[Branch]:
        """A branch each, as far as the budget goes: as many at once as fit for certain, the last one cut."""
        found: list[Branch] = []
        while len(found) < len(wanted) and (self._left is None or self._left > 0):
            taken: list[tuple[_Draw, int]] = []
            room = self._left
            for draw in wanted[len(found) :]:
                asked = self._options.max_tokens_per_path - draw.position
                if room is not None and asked > room and taken:
                    break
                taken.append((draw, asked if room is None else min(asked, room)))
                room = None if room is None else room - taken[-1][1]
            found += await asyncio.gather(*(self._branch(draw, most) for draw, most in taken))
        return found

    async def _branch(self, draw: _Draw, most: int) -> Branch:
        parent, position = draw.parent, draw.position
        request = Request(
            prefix_ids=self._prompt_ids if parent is None else self._prompt_ids + parent.path_ids(position),
            max_new_tokens=most,
            temperature=self._options.temperature,
            seed=derive_seed(self._options.seed, self._group, *draw.names),
            group=self._group,
        )
        done = await self._engine.generate(request)
        if self._left is not None:
            self._left -= len(done.token_ids)
        if parent is None:
            return as_branch(done)
        if position not in parent.forks:
            parent.forks.append(position)
        return replace(as_branch(done), parent=parent, start=position)
