"""Steps scored by a judge: critiques drawn, verdicts read off the log-probs, P(Yes) averaged.

What the judge writes is never parsed: a verdict is the probability of Yes beside that of No behind the critique. Where
a critique leaves neither likely, the solution has a reason in place of scores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

from eduprm.core.seeds import derive_seed
from eduprm.prm.joining import missing_joiner, with_joiner
from eduprm.prm.solutions import StepScores
from eduprm.serve.calls import first_error
from eduprm.serve.judge.prompts import Parts, Prompts

__all__ = ["Critique", "JudgeModel", "JudgeRefusalError", "JudgeScorer"]

_JOINER = "\n"
_MOST_SEED = 2**31  # servers take 32 bits


class JudgeRefusalError(Exception):
    """The judge does not take this prompt (beyond its context, say); others it may."""


class Critique(NamedTuple):
    """What the judge wrote, and how many tokens it had read before."""

    text: str
    prompt_tokens: int


class JudgeModel(Protocol):
    """A language model that writes and weighs two words."""

    def ready(self) -> AbstractAsyncContextManager[None]:
        """Inside of it, in one event loop, the model may be asked."""
        ...

    async def critique(self, asked: Parts, *, seed: int) -> Critique:
        """Draw what follows; JudgeRefusalError if the prompt is not taken."""
        ...

    async def verdict(self, asked: Parts) -> tuple[float, float]:
        """Probabilities of Yes and of No as what follows; JudgeRefusalError likewise."""
        ...


class JudgeScorer:
    """`eduprm.prm.solutions.StepScorer` of a language model.

    Args:
        model: writes and weighs.
        prompts: what it is asked.
        samples: K, critiques of each step.
        least: probability of Yes and No together below which there is no verdict.
        seed: of the draws, which depend on nothing else but the prompt and their number.
    """

    def __init__(
        self, model: JudgeModel, prompts: Prompts, *, samples: int, least: float, seed: int = 0
    ) -> None:
        self._model, self._prompts = model, prompts
        self._samples, self._least, self._seed = samples, least, seed

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        """Score (problem, steps) pairs; a step that solutions share with all before it is judged once."""
        if not solutions:
            return []
        return asyncio.run(self._score_all(solutions, complete=complete, as_cut=as_cut))

    async def _score_all(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool, as_cut: bool
    ) -> list[StepScores]:
        joined = [
            with_joiner(steps, _JOINER, complete=complete)
            if not as_cut and missing_joiner(steps, _JOINER, complete=complete)
            else list(steps)
            for _, steps in solutions
        ]
        asked = [self._asked(problem, steps) for (problem, _), steps in zip(solutions, joined, strict=True)]
        unique = list(dict.fromkeys(prompt for prompts in asked for prompt in prompts))
        try:
            async with self._model.ready(), asyncio.TaskGroup() as tasks:
                running = {prompt: tasks.create_task(self._judged(prompt)) for prompt in unique}
        except ExceptionGroup as errors:
            raise first_error(errors) from None
        judged = {prompt: task.result() for prompt, task in running.items()}
        return [
            _solution([judged[prompt] for prompt in prompts], "" if list(steps) == read else _JOINER)
            for prompts, (_, steps), read in zip(asked, solutions, joined, strict=True)
        ]

    def _asked(self, problem: str, steps: Sequence[str]) -> list[Parts]:
        """The prompt of each step; none where there is nothing to judge."""
        if not steps or not all(step.strip() for step in steps):
            return []
        return [
            self._prompts.asking(problem, "".join(steps[:number]), step) for number, step in enumerate(steps)
        ]

    async def _judged(self, asked: Parts) -> tuple[float, int] | str:
        """Mean P(Yes) of one step and the tokens of its prompt, or why there is none."""
        text = "".join(part for part, _ in asked)
        seeds = [derive_seed(self._seed, text, number) % _MOST_SEED for number in range(self._samples)]
        try:
            critiques = await _all(self._model.critique(asked, seed=seed) for seed in seeds)
            verdicts = await _all(
                self._model.verdict(self._prompts.concluding(asked, one.text)) for one in critiques
            )
        except JudgeRefusalError as error:
            return str(error)
        for number, (yes, no) in enumerate(verdicts, start=1):
            if not yes + no > 0 or yes + no < self._least:
                return (
                    f"critique {number} of {self._samples} ends in neither Yes nor No, which together have a "
                    f"probability of {yes + no:.2g}, expected {self._least:g} or more; change the prompts or the model"
                )
        return sum(yes / (yes + no) for yes, no in verdicts) / len(verdicts), critiques[0].prompt_tokens


async def _all(calls):  # type: ignore[no-untyped-def]
    """Results of all, in order; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(call) for call in calls]
    except ExceptionGroup as errors:
        raise first_error(errors) from None
    return [task.result() for task in running]


def _solution(judged: Sequence[tuple[float, int] | str], joiner: str) -> StepScores:
    if not judged:
        return StepScores(None, rejected="cannot be judged: expected steps with text; take it out")
    scores: list[float] = []
    for number, one in enumerate(judged, start=1):
        if isinstance(one, str):
            return StepScores(None, rejected=f"the judge gives step {number} no score: {one}")
        scores.append(one[0])
    assert not isinstance(judged[-1], str)
    return StepScores(scores, judged[-1][1], joiner=joiner)
