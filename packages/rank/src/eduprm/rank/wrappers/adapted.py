"""A PRM that learns a little from the problem it is about to judge, and forgets it again.

After test-time training (Sun et al., arXiv 1909.13231; TTRL, arXiv 2504.16084, takes majority votes as labels). Our
reading:

* The test data are the problem's own solutions. Those with the most frequent answer count as right, the others as
  wrong; a beginning is worth the mean of the solutions that share it. No gold answer is read.
* LoRA in all layers, a few steps of AdamW, from the same state for every problem; scores are those after them.
* Where the votes say nothing (one answer, or none that more than `share` of the solutions have), the PRM scores as it
  is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, cast

from pydantic import Field
from pydantic.dataclasses import dataclass

from eduprm.core.errors import UsageError
from eduprm.label import extract_answer, spell_alike
from eduprm.prm.solutions import IdScorer, ReadSolution, StepScorer, StepScores, read_steps
from eduprm.rank.wrappers._joined import joined_steps


@dataclass(frozen=True)
class Wrapper:
    """Options: steps, learning_rate, rank of the adapters, share (what a majority must exceed).

    Examples:
        >>> Wrapper().votes(["#### 4", "so #### 4.0", "#### 5", "no idea", "#### 4"])
        [1.0, 1.0, 0.0, 0.0, 1.0]
        >>> Wrapper().votes(["#### 4", "#### 5"]) is None
        True
    """

    steps: Annotated[int, Field(ge=1)] = 2
    learning_rate: Annotated[float, Field(gt=0)] = 3e-5
    rank: Annotated[int, Field(ge=1)] = 8
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def score_steps(
        self,
        prm: StepScorer,
        solutions: Sequence[tuple[str, Sequence[str]]],
        *,
        complete: bool,
        as_cut: bool,
    ) -> list[StepScores]:
        """The PRM's scores, problem by problem, each after the steps on its own solutions.

        Raises:
            UsageError: a PRM that cannot be trained here: a service's, a published one, or one in another wrapper.
        """
        from eduprm.prm.adapting import adapting_losses
        from eduprm.prm.score import ProcessRewardModel

        if not isinstance(prm, ProcessRewardModel):
            raise UsageError(
                "--wrap adapted: expected a PRM in this process next to it; name it first, without a URL"
            )
        try:
            adapting_losses(prm)
        except ValueError as error:
            raise UsageError(f"--wrap adapted: {error}") from None
        problems: dict[str, list[int]] = {}
        for number, (problem, _) in enumerate(solutions):
            problems.setdefault(problem, []).append(number)
        results: list[StepScores | None] = [None] * len(solutions)
        for numbers in problems.values():
            scored = self._one_problem(prm, [solutions[k] for k in numbers], complete=complete, as_cut=as_cut)
            for number, one in zip(numbers, scored, strict=True):
                results[number] = one
        return cast(list[StepScores], results)

    def _one_problem(
        self, prm: StepScorer, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool, as_cut: bool
    ) -> list[StepScores]:
        from eduprm.prm.adapting import adapted, voted_tree

        how = {"complete": complete, "as_cut": as_cut}
        prompts: dict[str, list[int]] = {}
        read = [
            read_steps(cast(IdScorer, prm), problem, steps, prompts=prompts, **how)
            for problem, steps in solutions
        ]
        votes = self.votes(
            [
                "".join(joined_steps(own, one.joiner, **how))
                for one, (_, own) in zip(read, solutions, strict=True)
            ]
        )
        known = [k for k, one in enumerate(read) if isinstance(one, ReadSolution)]
        if votes is None or len({votes[k] for k in known}) < 2:
            return prm.score_steps(solutions, **how)
        tree = voted_tree([read[k].ids for k in known], [votes[k] for k in known])  # type: ignore[union-attr]
        options = {"steps": self.steps, "learning_rate": self.learning_rate, "rank": self.rank}
        with adapted(prm, tree, **options) as changed:  # type: ignore[arg-type]  # score_steps has checked it
            return changed.score_steps(solutions, **how)

    def votes(self, texts: Sequence[str]) -> list[float] | None:
        """1 for solutions with the majority's answer, 0 for others; None where there is no majority or no other."""
        answers = spell_alike([""] * len(texts), [extract_answer(text) for text in texts], None)
        counts = Counter(answer for answer in answers if answer is not None).most_common(1)
        if not counts or not self.share * len(texts) < counts[0][1] < len(texts):
            return None
        return [float(answer == counts[0][0]) for answer in answers]
