"""A PRM behind a URL, as `python -m eduprm.serve` serves one.

For: `--prm-url`. Does not know: torch, HTTP (`eduprm.serve` does). Scores are kept under the identity that the service
states, and a service that becomes another PRM on the way stops the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eduprm.core.errors import UsageError
from eduprm.rank.prms import StepScores
from eduprm.serve import RetrySettings, ServedPrmError, Solution, SolutionResult, score_served


class ServedPrm:
    """The service at a URL; asked at once which PRM it holds.

    Raises:
        UsageError: no service answers there for `wait_s` seconds.
    """

    def __init__(self, url: str, *, wait_s: float) -> None:
        self.name = url
        self._retry = RetrySettings(patience_s=wait_s, attempts=1000)
        self._identity: str | None = None
        try:
            info, _ = score_served(url, [], retry=self._retry)
        except ServedPrmError as error:
            raise UsageError(
                f"--prm-url: {error}; start one with `python -m eduprm.serve --prm PATH`"
            ) from None
        self._identity = info.identity
        self._steps = info.steps

    def key(self) -> dict[str, str | None]:
        """What the service says it is."""
        return {"served": self._identity}

    def saved_cut(self) -> Any:
        """What the service says of it."""
        return self._steps

    def load(self) -> StepScores:
        """Nothing to load."""
        return self._score

    def _score(self, solutions: Sequence[tuple[str, list[str]]]) -> Sequence[list[float] | str]:
        if not solutions:
            return []
        sent = [Solution(problem=problem, steps=steps, as_cut=True) for problem, steps in solutions]
        try:
            _, results = score_served(self.name, sent, identity=self._identity, retry=self._retry)
        except ServedPrmError as error:
            raise UsageError(
                f"--prm-url: {error}; what was ranked is kept: the same command goes on from here"
            ) from None
        return [_answer(result) for result in results]


def _answer(result: SolutionResult) -> list[float] | str:
    if result.scores is not None:
        return result.scores
    return f"the PRM service does not score it: {result.refused}; shorten it or take it out"
