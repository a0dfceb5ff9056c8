"""What a strategy is: it grows one tree of solutions for one prompt.

A module of this folder is a strategy by its name, `package.module:Name` is anybody's own. Its attribute `Strategy`
makes it from options as keyword arguments; a frozen pydantic model with the methods below does. A strategy asks an
engine for completions and returns branches; it does not see texts' meaning, gold answers or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from eduprm.search.branches import Branch, CutRule
from eduprm.search.contract import Engine, Tokenizer


class Strategy(Protocol):
    """Grows one tree for one prompt."""

    @property
    def tree(self) -> str:
        """Name of the trees it grows, unique within a forest. It carries no meaning."""
        ...

    @property
    def cut(self) -> CutRule:
        """Where its paths are cut into nodes."""
        ...

    async def grow(
        self, prompt_ids: tuple[int, ...], *, problem_id: str, engine: Engine, tokenizer: Tokenizer
    ) -> list[Branch]:
        """Branches of the tree in the order in which they were found.

        Their places become the column `order` of the forest, and the first n of them should be what a budget of n
        leaves would have given. A branch that is the policy's greedy path to its end says so (`Branch.greedy`); a
        strategy that never decodes it may say so before it grows anything, by a class attribute `never_greedy = True`.
        One whose forks take the runner-up token and are decoded greedily from there says so by `greedy_forks = True`:
        they can be decoded again (`eduprm.search.sglang.cache_check`).
        The requests are of the group `problem_id`.
        """
        ...


class PrefixScorer(Protocol):
    """Scores beginnings of solutions; awaited, so that a PRM may answer over a network."""

    async def __call__(self, problem_id: str, prefixes: Sequence[tuple[int, ...]]) -> Sequence[float]:
        """One score in [0, 1] per prefix: generated token ids from the solution's first, the prompt left out.

        A solution may be its stop token alone, and has a score too.
        """
        ...


@runtime_checkable
class ScoreQuantiles(Protocol):
    """A `PrefixScorer` that also knows how its scores are distributed, on trees that are there already."""

    async def quantile(self, share: float) -> float:
        """The score that at most this share of them lie below; one number, whenever it is asked."""
        ...


class SolutionGrader(Protocol):
    """Says which solutions of a problem are right; awaited, as the PRM is."""

    async def __call__(self, problem_id: str, texts: Sequence[str]) -> Sequence[bool]:
        """One grade per text: a whole solution, the prompt left out."""
        ...


class Paths(BaseModel):
    """Options of strategies that decode whole paths from the prompt."""

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
