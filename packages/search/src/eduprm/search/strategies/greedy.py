"""Greedy decoding: the most probable token at every position, one path."""

from __future__ import annotations

from eduprm.search.branches import Branch, as_branch
from eduprm.search.contract import Engine, Request, Tokenizer
from eduprm.search.strategies._contract import Paths


class Greedy(Paths):
    """The most probable token at every position: one path.

    Examples:
        >>> Greedy().tree
        'greedy'
    """

    @property
    def title(self) -> str:
        """As tables show it."""
        return "greedy"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "greedy"

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """One branch from the prompt."""
        room = min(self.max_tokens_per_path, self.max_total_tokens or self.max_tokens_per_path)
        request = Request(prefix_ids=prompt_ids, max_new_tokens=room, group=problem_id)
        return [as_branch(await engine.generate(request), greedy=True)]


Strategy = Greedy
