"""High-temperature sampling: independent samples at one temperature, found in the order of their numbers."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from pydantic import Field

from eduprm.core.seeds import derive_seed
from eduprm.search.branches import Branch, as_branch
from eduprm.search.contract import Completion, Engine, Request, Tokenizer
from eduprm.search.strategies._contract import Paths


class HighTemperature(Paths):
    """Independent samples at one temperature: the baseline that EDU sampling is measured against.

    Sample k of a problem draws from a seed of (seed, problem id, k), so the first k samples are the same
    whatever `num_samples` is. With `max_total_tokens` as many samples are decoded at once as fit for certain; the last
    one is cut where the tokens are spent.

    Examples:
        >>> HighTemperature(temperature=1.0).tree
        'samples-1.0'
    """

    never_greedy: ClassVar[bool] = True

    temperature: float = Field(default=0.7, gt=0.0, description="of the softmax the tokens are drawn from")
    num_samples: int = Field(default=8, ge=1, description="samples a problem")
    seed: int = Field(default=0, description="of the draws")

    @property
    def title(self) -> str:
        """As tables show it."""
        return f"samples T={self.temperature:g}"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return f"samples-{self.temperature}"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """One branch a sample, all from the prompt."""
        path, done = self.max_tokens_per_path, list[Completion]()
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


Strategy = HighTemperature
