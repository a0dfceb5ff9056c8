"""Questions on which the policy's answers disagree count more: H^power, H the entropy of its answers in bits.

H is taken over the groups of equal answers (nats would only change a constant). A question without a right answer is
left out, and so is one whose answers all agree, since its H is 0.

Source: EAST (arXiv 2503.23913) and its code, which divides by a constant: that falls out of a loss that is divided by
the sum of its weights. Leaves of a tree in place of samples, and leaves without an answer left out of H, are our
reading.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

__all__ = ["Weights"]


@dataclass(frozen=True)
class Weights:
    """`power`, above 0: how much more the undecided questions count.

    Raises:
        ValueError: another power.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.power < float("inf"):
            raise ValueError(f"expected power above 0, got {self.power}")

    def of(self, graded: pl.DataFrame) -> pl.DataFrame:
        """Return H^power, or 0 where no answer is right."""
        answers = graded.filter(pl.col("answer").is_not_null()).group_by("problem_id", "answer").len()
        entropies = answers.group_by("problem_id").agg(entropy=pl.col("len").entropy(base=2, normalize=True))
        questions = graded.group_by("problem_id", maintain_order=True).agg(pl.col("correct").any())
        found = questions.join(entropies, on="problem_id", how="left", maintain_order="left")
        entropy = pl.col("entropy").fill_null(0.0).clip(lower_bound=0.0)
        return found.select("problem_id", weight=pl.when("correct").then(entropy**self.power).otherwise(0.0))
