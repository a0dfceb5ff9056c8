"""Step scores and the whole solution's together, for long thoughts that end in an answer.

After ReasonFlux-PRM (arXiv 2506.18896), which rewards the steps of a thinking trajectory and the trajectory as a whole.
That paper's trajectory reward comes from a model that rates a template of the solution; our reading takes the PRM
itself:

* The trajectory's score is the PRM's score of the solution read as one step, joined as its steps were.
* A step's score becomes (1 - weight) * own + weight * trajectory's, so that every selection rule sees both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from eduprm.prm.solutions import StepScorer, StepScores
from eduprm.rank.wrappers._joined import joined_steps


@dataclass(frozen=True)
class Wrapper:
    """Options: weight, of the whole solution's score."""

    weight: Annotated[float, Field(ge=0, le=1)] = 0.5

    def score_steps(
        self,
        prm: StepScorer,
        solutions: Sequence[tuple[str, Sequence[str]]],
        *,
        complete: bool,
        as_cut: bool,
    ) -> list[StepScores]:
        """The mixture; a solution that has no score as a whole has none at all, with the reason."""
        steps = prm.score_steps(solutions, complete=complete, as_cut=as_cut)
        texts = [
            "".join(joined_steps(own, one.joiner, complete=complete, as_cut=as_cut))
            for one, (_, own) in zip(steps, solutions, strict=True)
        ]
        whole = prm.score_steps(
            [(problem, [text]) for (problem, _), text in zip(solutions, texts, strict=True)],
            complete=complete,
            as_cut=True,
        )
        found = []
        for one, all_of_it in zip(steps, whole, strict=True):
            if one.scores is None or all_of_it.scores is None:
                found.append(one if one.scores is None else all_of_it)
                continue
            added = self.weight * all_of_it.scores[0]
            found.append(one._replace(scores=[(1 - self.weight) * score + added for score in one.scores]))
        return found
