"""What is grown for a problem: the common shape of EDU sampling, high-temperature sampling and greedy decoding.

A strategy asks an engine for continuations and returns branches; it does not see texts' meaning, gold answers or files.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from eduprm.core.seeds import derive_seed
from eduprm.search.branches import Branch, CutRule
from eduprm.search.contract import Continuation, Engine, Request, TokenDecoder


class Strategy(Protocol):
    """Grows one tree for one prompt."""

    @property
    def tree(self) -> str:
        """Name of the trees it grows, unique within a forest."""
        ...

    @property
    def cut(self) -> CutRule:
        """Where its paths are cut into nodes."""
        ...

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, decoder: TokenDecoder
    ) -> list[Branch]:
        """Branches of the tree, parents first. Its requests are of the group `problem_id`."""
        ...


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=1.0, ge=0.0, description="nats; solutions are cut into nodes where entropy is above this"
    )
    skip_symbols: bool = Field(
        default=True, description="no cut where the most probable token is white space or punctuation alone"
    )
    max_tokens_per_path: int = Field(default=256, ge=1, description="most generated tokens of one solution")
    max_total_tokens: int | None = Field(
        default=None, ge=1, description="most generated tokens of one tree; none for no cap"
    )

    @property
    def cut(self) -> CutRule:
        """Where paths are cut into nodes."""
        return CutRule(threshold=self.threshold, skip_symbols=self.skip_symbols)


class Greedy(_Named):
    """The most probable token at every position: one path.

    Examples:
        >>> Greedy().tree
        'greedy'
    """

    kind: Literal["greedy"] = "greedy"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "greedy"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, decoder: TokenDecoder
    ) -> list[Branch]:
        """One branch from the prompt."""
        room = min(self.max_tokens_per_path, self.max_total_tokens or self.max_tokens_per_path)
        request = Request(prefix_ids=prompt_ids, max_new_tokens=room, group=problem_id)
        return [as_branch(await engine.generate(request))]


class HighTemperature(_Named):
    """Independent samples at one temperature: the baseline that EDU sampling is measured against.

    Sample k of a problem draws from a seed of (seed, problem id, k), so the first k samples are the same
    whatever `num_samples` is. With `max_total_tokens` as many samples are decoded at once as fit for certain; the last
    one is cut where the tokens are spent.

    Examples:
        >>> HighTemperature(temperature=1.0).tree
        'ht-1.0'
    """

    kind: Literal["high_temperature"] = "high_temperature"
    temperature: float = Field(default=0.7, gt=0.0, description="of the softmax the tokens are drawn from")
    num_samples: int = Field(default=8, ge=1, description="samples a problem")
    seed: int = Field(default=0, description="of the draws")

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return f"ht-{self.temperature}"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, decoder: TokenDecoder
    ) -> list[Branch]:
        """One branch a sample, all from the prompt."""
        path, done = self.max_tokens_per_path, list[Continuation]()
        left = self.max_total_tokens or path * self.num_samples
        while len(done) < self.num_samples and left > 0:
            count = min(self.num_samples - len(done), max(left // path, 1))
            requests = [
                Request(
                    prefix_ids=prompt_ids,
                    max_new_tokens=min(path, left),
                    temperature=self.temperature,
                    seed=derive_seed(self.seed, problem_id, self.temperature, index),
                    group=problem_id,
                )
                for index in range(len(done), len(done) + count)
            ]
            drawn = await asyncio.gather(*map(engine.generate, requests))
            left -= sum(len(sample.token_ids) for sample in drawn)
            done.extend(drawn)
        return [as_branch(sample) for sample in done]


def as_branch(done: Continuation) -> Branch:
    """A continuation of the bare prompt as a branch."""
    return Branch(
        parent=None,
        start=0,
        token_ids=done.token_ids,
        logprobs=done.logprobs,
        entropies=done.entropies,
        runner_up_ids=done.runner_up_ids,
        runner_up_logprobs=done.runner_up_logprobs,
        finish=done.finish,
        entropies_upper=done.entropies_upper,
    )


__all__ = ["Greedy", "HighTemperature", "Strategy", "as_branch"]
