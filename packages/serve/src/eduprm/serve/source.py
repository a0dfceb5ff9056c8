"""PRMs by name or behind a URL, each as an `eduprm.prm.source.PrmPlace`: known now, opened later, scored by one call.

Needs eduprm-prm and eduprm-core. Imports no torch: a service is asked over HTTP, and a folder is loaded when it is
opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eduprm.core.errors import UsageError
from eduprm.core.retry import RetrySettings
from eduprm.prm.config import Aggregate
from eduprm.prm.folding import SOLUTION_OF_FOLD
from eduprm.prm.solutions import StepScores
from eduprm.prm.source import PrmSource
from eduprm.serve.client import score_served
from eduprm.serve.language_model import LanguageModelPrm, likelihood_fold, served_model
from eduprm.serve.wire import ServedPrmError, Solution

__all__ = ["LanguageModelSource", "ServedSource"]


class ServedSource:
    """The service of a URL (`python -m eduprm.serve`); asked at once which PRM it holds.

    Scores are kept under the identity that it states; one that becomes another PRM on the way stops the run.

    Raises:
        UsageError: no service answers there for `wait_s` seconds.
    """

    def __init__(self, url: str, *, wait_s: float) -> None:
        self.name = url
        self._retry = RetrySettings(patience_s=wait_s, attempts=1000)
        try:
            info, _ = score_served(url, [], retry=self._retry)
        except ServedPrmError as error:
            raise UsageError(
                f"--prm-url: {error}; start one with `python -m eduprm.serve --prm PATH`"
            ) from None
        self._identity = info.identity
        self._steps = info.steps
        self._solution = info.solution

    def key(self) -> dict[str, str]:
        """What the service says it is."""
        return {"served": self._identity}

    def saved_cut(self) -> Any:
        """What the service says of it."""
        return self._steps

    def solution(self) -> Aggregate:
        """What the service says of it."""
        return self._solution

    def open(self) -> ServedSource:
        """Nothing to load."""
        return self

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        """Score (problem, steps) pairs, as `eduprm.prm.solutions.StepScorer`.

        Raises:
            UsageError: the service is gone, or became another PRM.
        """
        if not solutions:
            return []
        sent = [
            Solution(problem=problem, steps=list(steps), complete=complete, as_cut=as_cut)
            for problem, steps in solutions
        ]
        try:
            _, results = score_served(self.name, sent, identity=self._identity, retry=self._retry)
        except ServedPrmError as error:
            raise _lost(error) from None
        return [StepScores(one.scores, one.tokens, _unscored(one.rejected), one.joiner) for one in results]


class LanguageModelSource:
    """A PRM by likelihood whose language model an SGLang server of a URL runs; `model` is what that says it runs.

    With `adapter` the server runs the policy, and holds the PRM's adapter under that name beside it.

    `source` gives tokenizer, input format, fold and cut; its weights are not loaded. Scores are kept under the content
    of its folder and the model that the server names; one that names another on the way stops the run.

    Raises:
        UsageError: no PRM by likelihood, or no server of a language model answers for `wait_s` seconds.
    """

    def __init__(self, url: str, source: PrmSource, *, wait_s: float, adapter: str | None = None) -> None:
        self.name = source.name
        self._url, self._adapter = url, adapter
        self._source = source
        self._retry = RetrySettings(patience_s=wait_s, attempts=1000)
        try:
            self._fold = likelihood_fold(source.folder)
        except ServedPrmError as error:
            raise UsageError(f"--prm: {error}") from None
        try:
            self.model = served_model(url, retry=self._retry)
        except ServedPrmError as error:
            raise UsageError(f"--prm-url: {error}; start SGLang with the PRM's folder as its model") from None

    def key(self) -> dict[str, str]:
        """Content of the folder, what the server says it runs, and the adapter."""
        adapter = {} if self._adapter is None else {"adapter": self._adapter}
        return {"folder": self._source.key(), "served": self.model, **adapter}

    def saved_cut(self) -> Any:
        """What stands in the folder's config.json."""
        return self._source.saved_cut()

    def solution(self) -> Aggregate:
        """By the folder's fold."""
        return SOLUTION_OF_FOLD[self._fold]

    def open(self) -> _LanguageModelScorer:
        """Load the tokenizer."""
        prm = LanguageModelPrm.from_pretrained(
            self._url, self._source.folder, model=self.model, adapter=self._adapter, retry=self._retry
        )
        return _LanguageModelScorer(prm)


class _LanguageModelScorer:
    """Scores with the server's log-probs; what it refuses and when it is gone are said as rerank says them."""

    def __init__(self, prm: LanguageModelPrm) -> None:
        self._prm = prm

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        try:
            return self._prm.score_steps(solutions, complete=complete, as_cut=as_cut)
        except ServedPrmError as error:
            raise _lost(error) from None


def _lost(error: ServedPrmError) -> UsageError:
    return UsageError(f"--prm-url: {error}; what was ranked is kept: the same command goes on from here")


def _unscored(rejected: str | None) -> str | None:
    return None if rejected is None else f"the PRM service does not score it: {rejected}"
