"""A PRM by likelihood whose language model an SGLang server holds.

For scores of a PRM that was saved with `scoring.kind = "likelihood"`, from any server that gives the log-probs of its
input as SGLang's /generate does: token ids go there, log-probs come back and are folded into step scores by the rule of
a model in this process (`eduprm.prm.folding`). The PRM's folder gives tokenizer, input format, fold and calibration;
its weights are not read. Needs the extra `language-model`; no part of the service.
Source: SGLang 0.5.23, io_struct.py and schedule_batch.py. Input log-probs are of temperature 1 whatever is sampled at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eduprm.core.retry import RetrySettings
from eduprm.prm.calibration import read_calibration
from eduprm.prm.folding import fold_logprobs
from eduprm.prm.solutions import Ids, StepScores, score_steps
from eduprm.prm.source import saved_entry
from eduprm.serve.calls import Calls, RefusedError, first_error
from eduprm.serve.wire import ServedPrmError

__all__ = ["LanguageModelPrm", "likelihood_fold", "served_model"]

_INFO_LIMIT_S = 10.0
_SCORE_LIMIT_S = 300.0


def likelihood_fold(folder: Path) -> str:
    """How a PRM's folder says that the log-probs of a step's tokens make its score.

    Raises:
        ServedPrmError: no PRM that scores by likelihood.
    """
    from eduprm.prm.config import Scoring

    try:
        scoring = Scoring.model_validate((saved_entry(folder) or {"scoring": None}).get("scoring", {}))
    except ValueError:
        raise ServedPrmError(f"{folder} does not say how it scores; name the folder of a PRM") from None
    if scoring.kind != "likelihood":
        raise ServedPrmError(
            f"{folder} scores by {scoring.kind!r}, which a language-model server does not give; expected a PRM by "
            "likelihood, or serve this one with python -m eduprm.serve"
        )
    return scoring.fold


def served_model(url: str, *, retry: RetrySettings | None = None) -> str:
    """The path of the model that a server says it runs, with its version where it has been changed.

    Raises:
        ServedPrmError: nobody answers, or no server of a language model.
    """

    async def run() -> str:
        calls = _calls(url, 1, retry)
        calls.open()
        try:
            return await _model(calls)
        finally:
            await calls.close()

    return asyncio.run(run())


class LanguageModelPrm:
    """Scores token ids as `eduprm.prm.ProcessRewardModel.score_ids` does, with a server's log-probs.

    Args:
        url: of the server, `http://host:port`.
        builder: what makes the PRM's input (`eduprm.prm.InputBuilder`).
        fold: min, mean or sum (`likelihood_fold`).
        calibration: of the folded scores (`eduprm.prm.calibration`); None: as they are.
        max_tokens: of a problem with a solution; None: no limit known here.
        model: what the server has to run (`served_model`); None: whatever it runs.
        adapter: what the server calls the PRM's LoRA adapter, where it holds the policy with the adapter beside it
            (SGLang: --enable-lora --lora-paths NAME=FOLDER/adapter); None: its model is the PRM.
        max_requests: most requests on their way at once.
        retry: how often and after what waits a failed request is sent again.
    """

    def __init__(
        self,
        url: str,
        builder: Any,
        *,
        fold: str,
        calibration: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        adapter: str | None = None,
        max_requests: int = 16,
        retry: RetrySettings | None = None,
    ) -> None:
        self.builder = builder
        self.max_tokens = max_tokens
        self._url, self._fold, self._model = url, fold, model
        self._calibration = calibration
        self._adapter = {} if adapter is None else {"lora_path": adapter}
        self._max_requests, self._retry = max_requests, retry

    @classmethod
    def from_pretrained(cls, url: str, folder: Path, **options: Any) -> LanguageModelPrm:
        """Read tokenizer, input format, fold, calibration and context from a PRM's folder; `options` as above.

        Raises:
            ServedPrmError: no PRM that scores by likelihood.
        """
        from eduprm.prm import InputBuilder
        from eduprm.prm.attention import context_tokens
        from eduprm.prm.loading import read_input_format, read_model_config

        fold, calibration = likelihood_fold(folder), read_calibration(saved_entry(folder))
        config = read_model_config(str(folder), trust_remote_code=False)
        builder = InputBuilder.from_pretrained(folder, read_input_format(config))
        return cls(
            url, builder, fold=fold, calibration=calibration, max_tokens=context_tokens(config), **options
        )

    def score_steps(
        self, solutions: Sequence[tuple[str, Sequence[str]]], *, complete: bool = True, as_cut: bool = False
    ) -> list[StepScores]:
        """Score (problem, steps) pairs; one that the server refuses has the reason in place of scores.

        Raises:
            ServedPrmError: as `score_ids`.
        """
        return score_steps(self, solutions, complete=complete, as_cut=as_cut)

    def score_ids(self, solutions: Sequence[Ids]) -> list[list[float] | str]:
        """One score in [0, 1] per step of each solution, or the server's reason for refusing it.

        Raises:
            ServedPrmError: the server went away for longer than the patience, runs another model than expected, or
                answers something else than log-probs.
            ValueError: a step without ids, or a prompt without: the first token of a solution would have no
                probability.
        """
        for index, (prompt, steps) in enumerate(solutions):
            lengths = [len(step) for step in steps]
            if not prompt or not lengths or 0 in lengths:
                raise ValueError(
                    f"solution {index}: expected ids in the prompt and every step, got {len(prompt)} and {lengths}"
                )
        return asyncio.run(self._score_all(solutions)) if solutions else []

    async def _score_all(self, solutions: Sequence[Ids]) -> list[list[float] | str]:
        calls = _calls(self._url, self._max_requests, self._retry)
        calls.open()
        places = asyncio.Semaphore(self._max_requests)
        try:
            model = await _model(calls)
            if self._model not in (None, model):
                raise ServedPrmError(f"{calls.url} runs {model} now, was {self._model}")
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(self._score(calls, places, prompt, steps))
                    for prompt, steps in solutions
                ]
        except* ServedPrmError as errors:
            raise first_error(errors) from None
        finally:
            await calls.close()
        return [task.result() for task in running]

    async def _score(
        self, calls: Calls, places: asyncio.Semaphore, prompt: Sequence[int], steps: Sequence[Sequence[int]]
    ) -> list[float] | str:
        ids = [*prompt, *(token for step in steps for token in step)]
        start = len(prompt) - 1
        body = {
            "input_ids": ids,
            "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
            "return_logprob": True,
            "logprob_start_len": start,
            **self._adapter,
        }
        async with places:
            try:
                answer = await calls.call(
                    "POST", "/generate", limit_s=_SCORE_LIMIT_S, body=json.dumps(body).encode()
                )
            except RefusedError as error:
                if error.status != 400:
                    raise
                return f"the server does not score it: {error.reason}; shorten it or take it out"
        calls.note_scores()
        logprobs = _input_logprobs(answer, ids[start:], calls.url)
        nodes = np.repeat(np.arange(len(steps)), [len(step) for step in steps])
        scores = fold_logprobs(logprobs, nodes, count=len(steps), fold=self._fold)
        return (scores if self._calibration is None else self._calibration(scores)).tolist()


def _calls(url: str, connections: int, retry: RetrySettings | None) -> Calls:
    return Calls(url, kind="a language-model server", max_connections=connections, retry=retry)


async def _model(calls: Calls) -> str:
    answer = await calls.call("GET", "/model_info", limit_s=_INFO_LIMIT_S)
    try:
        info = json.loads(answer)
        path, version = str(info["model_path"]), info.get("weight_version")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ServedPrmError(f"{calls.url} does not say which model it runs, as SGLang does") from None
    if info.get("is_generation") is False:
        raise ServedPrmError(f"{calls.url} runs {path} for embeddings; start it without --is-embedding")
    return path if version in (None, "default") else f"{path} (weights {version})"


def _input_logprobs(answer: bytes, ids: Sequence[int], url: str) -> NDArray[np.float64]:
    """Log-probs of all ids but the first, whose own the server does not compute; rounding may not put one above 0.

    Raises:
        ServedPrmError: no log-probs, or those of other tokens.
    """
    try:
        entries = json.loads(answer)["meta_info"]["input_token_logprobs"]
        got = [entry[1] for entry in entries]
        logprobs = np.array([float(entry[0]) for entry in entries[1:]])
    except (ValueError, KeyError, TypeError, IndexError):
        raise ServedPrmError(f"{url} answered something else than the log-probs of its input") from None
    if got != list(ids):
        raise ServedPrmError(
            f"{url} gave the log-probs of {len(got)} tokens that are not the {len(ids)} asked for"
        )
    return np.minimum(logprobs, 0.0)
