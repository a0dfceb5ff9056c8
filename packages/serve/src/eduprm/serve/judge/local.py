"""A judge in this process: the embedded engine writes, and weighs Yes and No in a pass over what it wrote.

Special tokens that a problem, a step or a critique spells out are read as plain text; those of the template count.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from eduprm.serve.judge.prompts import Parts
from eduprm.serve.judge.scorer import Critique, JudgeRefusalError

__all__ = ["LocalJudge"]

_SPELLINGS = {word: (word, f" {word}", word.lower(), f" {word.lower()}") for word in ("Yes", "No")}


class LocalJudge:
    """A causal language model.

    Args:
        engine: decodes (`eduprm.search.TransformersEngine`).
        tokenizer: the model's (`eduprm.search.PolicyTokenizer`).
        max_tokens: of a critique.
        temperature: of its draws.
    """

    def __init__(self, engine: Any, tokenizer: Any, *, max_tokens: int, temperature: float) -> None:
        from eduprm.search.embedded.scoring import TokenScorer

        self._engine, self._tokenizer = engine, tokenizer
        self._max_tokens, self._temperature = max_tokens, temperature
        self._weigher = TokenScorer(engine.model)
        self._words = [{tuple(tokenizer.encode(text)) for text in _SPELLINGS[word]} for word in ("Yes", "No")]

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """What was held of earlier calls is forgotten: scores depend on their own call alone."""
        self._engine.reset()
        self._weigher.reset()
        yield

    async def critique(self, asked: Parts, *, seed: int) -> Critique:
        """Drawn to its end, or to `max_tokens`."""
        from eduprm.search import Request

        ids = tuple(self._tokenizer.encode_parts(asked))
        request = Request(
            prefix_ids=ids,
            max_new_tokens=self._max_tokens,
            temperature=self._temperature,
            seed=seed,
            group="".join(text for text, _ in asked),
        )
        try:
            done = await self._engine.generate(request)
        except ValueError as error:  # RequestError is one
            raise JudgeRefusalError(str(error)) from None
        return Critique(self._tokenizer.decode(done.token_ids.tolist()), len(ids))

    async def verdict(self, asked: Parts) -> tuple[float, float]:
        """Sums over spellings of each word, of however many tokens."""
        ids = self._tokenizer.encode_parts(asked)
        words = [sorted(spellings) for spellings in self._words]
        texts = [list(spelling) for spellings in words for spelling in spellings]
        try:
            measured = iter(self._weigher.score(prefix_ids=ids, texts=texts))
        except ValueError as error:
            raise JudgeRefusalError(str(error)) from None
        yes, no = (
            sum(math.exp(float(next(measured).logprobs.sum())) for _ in spellings) for spellings in words
        )
        return yes, no
