"""The judge where PRMs are named: an `eduprm.prm.source.PrmPlace` called "judge"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eduprm.core.api_key import api_key
from eduprm.core.errors import UsageError, first_line
from eduprm.core.retry import RetrySettings
from eduprm.prm.config import Aggregate
from eduprm.prm.prm_folder import folder_digest
from eduprm.prm.solutions import StepScorer, StepScores
from eduprm.prm.source import PrmPlace, PrmReading, PrmSource
from eduprm.serve.judge.prompts import read_prompts
from eduprm.serve.judge.remote import RemoteJudge, judge_models
from eduprm.serve.judge.scorer import JudgeModel, JudgeScorer
from eduprm.serve.judge.settings import JudgeSettings
from eduprm.serve.wire import ServedPrmError

__all__ = ["JUDGE", "JudgeSource", "named_place"]

JUDGE = "judge"
"""Its name; a folder of this name is ./judge."""

_BUNDLED = "smollm2-135m-instruct"


def named_place(name: str, reading: PrmReading, judge: JudgeSettings) -> PrmPlace:
    """The judge, or the PRM of a folder, a hub name or a name that ships.

    Raises:
        UsageError: there is none; settings of a judge that is not named, or of a PRM where one is.
    """
    if name == JUDGE:
        return JudgeSource(judge, reading)
    if judge != JudgeSettings():
        raise UsageError(f"--judge: expected nothing beside --prm {name}; give --prm judge, or leave it out")
    return PrmSource.find(name, reading)


class JudgeSource:
    """A language model as a judge; with a URL the server is asked at once which models it has.

    Raises:
        UsageError: no such model, no server, or settings that only PRMs have.
    """

    name = JUDGE

    def __init__(self, settings: JudgeSettings, reading: PrmReading) -> None:
        if reading.format is not None:
            raise UsageError(
                "--format: expected nothing beside --prm judge, which is no published PRM; leave it out"
            )
        self._settings, self._device, self._dtype = settings, reading.device, reading.dtype
        self._prompts = read_prompts(settings.prompts)
        self._retry = RetrySettings(patience_s=settings.wait_s, attempts=1000)
        self._key = _key(settings)
        self.model = settings.model or _BUNDLED if settings.url is None else self._served(settings.url)

    def _served(self, url: str) -> str:
        try:
            there = judge_models(url, key=self._key, retry=self._retry)
        except ServedPrmError as error:
            raise UsageError(f"--judge.url: {error}") from None
        wanted = self._settings.model
        if wanted is None and len(there) == 1:
            return there[0]
        if wanted not in there:
            said = "" if wanted is None else f", got {wanted}"
            raise UsageError(f"--judge.model: expected one of {', '.join(there) or 'none'} at {url}{said}")
        return wanted

    def key(self) -> dict[str, Any]:
        """Model, prompts, and all settings that the scores depend on."""
        settings = self._settings
        where = (
            {"served": self.model} if settings.url is not None else {"folder": folder_digest(self._folder())}
        )
        how = {name: value for name, value in settings.deciding().items() if name not in ("model", "served")}
        return {"judge": {**how, **where}}

    def saved_cut(self) -> None:
        """A judge was not trained on steps."""
        return None

    def solution(self) -> Aggregate:
        """It is asked about each step by itself: a solution is as good as its worst."""
        return "min"

    def open(self) -> StepScorer:
        """Load the model, unless a server has it.

        Raises:
            UsageError: it cannot be loaded.
        """
        settings = self._settings
        model: JudgeModel
        written: dict[str, Any] = {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
        if settings.url is not None:
            model = RemoteJudge(
                settings.url, self.model, **written, top_logprobs=settings.top_logprobs,
                max_requests=settings.max_requests, limit_s=settings.limit_s, key=self._key, retry=self._retry,
            )  # fmt: skip
        else:
            model = self._loaded(written)
        scorer = JudgeScorer(
            model, self._prompts, samples=settings.samples, least=settings.least, seed=settings.seed
        )
        return scorer if settings.url is None else _Served(scorer)

    def _loaded(self, written: dict[str, Any]) -> JudgeModel:
        from eduprm.search import PolicyTokenizer, TransformersEngine
        from eduprm.serve.judge.local import LocalJudge

        try:
            engine = TransformersEngine.from_pretrained(
                self.model, device=self._device, dtype=self._dtype or "auto", max_rows=16
            )
            return LocalJudge(engine, PolicyTokenizer(self.model), **written)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(f"--judge.model: {self.model} cannot be loaded: {first_line(error)}") from error

    def _folder(self) -> Path:
        from eduprm.policy import resolve_model

        folder = Path(resolve_model(self.model))
        if not folder.is_dir():
            raise UsageError(
                f"--judge.model: expected a folder or the bundled model, got {self.model}; fetch it first"
            )
        return folder


def _key(settings: JudgeSettings) -> str | None:
    """The API key of the variable that is named; it is said and kept nowhere."""
    name = settings.key_env
    if name is None:
        return None
    if settings.url is None:
        raise UsageError(
            "--judge.key-env: expected --judge.url beside it, whose server wants the key; leave it out"
        )
    return api_key(name, flag="--judge.key-env")


class _Served:
    """A server that is gone is said as the apps say it."""

    def __init__(self, scorer: JudgeScorer) -> None:
        self._scorer = scorer

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        try:
            return self._scorer.score_steps(solutions, complete=complete, as_cut=as_cut)
        except ServedPrmError as error:
            raise UsageError(
                f"--judge.url: {error}; what was scored is kept: the same command goes on from here"
            ) from None
