"""Known answers: problems and steps whose scores a model card prints, to check real weights against.

`known_scores.json` holds, per form: the checkpoint, where the scores are printed, the precision that they were computed
in, and examples of problem, steps and scores. Forms whose sources print no scores are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from eduprm.prm.solutions import StepScorer

__all__ = ["Compared", "KnownExample", "KnownScores", "compare", "known_scores"]


class KnownExample(BaseModel):
    """A solution and the published score of each of its steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problem: str
    steps: tuple[str, ...] = Field(min_length=1)
    scores: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _a_score_a_step(self) -> KnownExample:
        if len(self.steps) != len(self.scores):
            raise ValueError(f"expected a score for each of {len(self.steps)} steps, got {len(self.scores)}")
        return self


class KnownScores(BaseModel):
    """What is known of one form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str = Field(description="hub name of the weights")
    source: str = Field(description="where the scores are printed")
    dtype: Literal["float32", "bfloat16", "float16"]
    examples: tuple[KnownExample, ...] = Field(min_length=1)


class Compared(NamedTuple):
    """One step: its solution and place (from 0), the score that is published and the one computed."""

    example: int
    step: int
    published: float
    computed: float

    @property
    def difference(self) -> float:
        """Absolute; infinite where no number was computed."""
        gap = abs(self.published - self.computed)
        return gap if gap == gap else float("inf")


def known_scores(file: Path | None = None) -> dict[str, KnownScores]:
    """Known scores by form: those that ship, or a file's of the same shape.

    Raises:
        OSError, ValueError: the file cannot be read, or has another shape (pydantic's message names the field).

    Examples:
        >>> sorted(known_scores())
        ['math-shepherd', 'qwen2.5-math-prm']
    """
    place = files("eduprm.prm.published") / "known_scores.json" if file is None else file
    return TypeAdapter(dict[str, KnownScores]).validate_json(place.read_bytes())


def compare(prm: StepScorer, examples: Sequence[KnownExample]) -> list[Compared]:
    """Score the examples, and set each step's score beside the published one.

    Raises:
        ValueError: an example does not fit the PRM.
    """
    rows: list[Compared] = []
    results = list(prm.score_steps([(one.problem, one.steps) for one in examples]))
    for number, (example, result) in enumerate(zip(examples, results, strict=True)):
        if result.scores is None:
            raise ValueError(f"example {number + 1} cannot be scored: {result.rejected}")
        pairs = zip(example.scores, result.scores, strict=True)
        rows += [Compared(number, step, known, ours) for step, (known, ours) in enumerate(pairs)]
    return rows
