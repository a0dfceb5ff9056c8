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

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from eduprm.search.branches import Branch, CutRule
from eduprm.search.budget import Budget
from eduprm.search.contract import Engine, Tokenizer
from eduprm.search.growth import TreeGrowth

Order = Literal["chronological", "best_first"]


class EduSampling(BaseModel):
    """Entropy-driven forking.

    Examples:
        >>> EduSampling(threshold=0.5, budget=Budget(max_leaves=4)).tree
        'edu'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    greedy_forks: ClassVar[bool] = True

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
    def title(self) -> str:
        """As tables show it."""
        return "EDU"

    @property
    def tree(self) -> str:
        """Name of the trees."""
        return "edu"

    @property
    def cut(self) -> CutRule:
        """Paths are cut at all anchors, forked or not."""
        return CutRule(threshold=self.threshold, skip_symbols=self.skip_symbols)

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Branches in the order they were found; the first is the greedy path."""
        return await TreeGrowth(self, prompt_ids, problem_id, engine, tokenizer).run()


Strategy = EduSampling
