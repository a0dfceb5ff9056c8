"""A PRM by likelihood whose language model an SGLang server runs.

For: `--prm-server sglang`. Does not know: torch, HTTP (`eduprm.serve.language_model` does). Scores are kept under the
content of the PRM's folder and the model that the server names; one that names another on the way stops the run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eduprm.core.errors import UsageError
from eduprm.rank.prms import LocalPrm
from eduprm.rank.settings import Settings
from eduprm.serve import RetrySettings, ServedPrmError
from eduprm.serve.language_model import LanguageModelPrm, likelihood_fold, served_model


class ServedLikelihood(LocalPrm):
    """Reads and folds as the PRM's folder says; the server is asked at once what it runs, and a line says so.

    Raises:
        UsageError: no PRM by likelihood, or no server of a language model answers for `--prm-wait-s` seconds.
    """

    def __init__(self, url: str, folder: Path, settings: Settings, *, name: str) -> None:
        super().__init__(folder, settings, name=name)
        self._url = url
        self._retry = RetrySettings(patience_s=settings.prm_wait_s, attempts=1000)
        try:
            likelihood_fold(folder)
        except ServedPrmError as error:
            raise UsageError(f"--prm: {error}") from None
        try:
            self._model = served_model(url, retry=self._retry)
        except ServedPrmError as error:
            raise UsageError(f"--prm-url: {error}; start SGLang with the PRM's folder as its model") from None
        print(f"rerank: scores of {name} come from {self._model}, which {url} runs", file=sys.stderr)

    def key(self) -> dict[str, Any]:
        """Content of the folder, and what the server says it runs."""
        return {"folder": super().key(), "served": self._model}

    def _open(self) -> Any:
        return LanguageModelPrm.from_pretrained(self._url, self._folder, model=self._model, retry=self._retry)

    def _forward(self, items: Sequence[Any]) -> Sequence[list[float] | str]:
        try:
            answers = self._prm.score_ids(items) if items else []
        except ServedPrmError as error:
            raise UsageError(
                f"--prm-url: {error}; what was ranked is kept: the same command goes on from here"
            ) from None
        return [
            f"the server does not score it: {one}; shorten it or take it out" if isinstance(one, str) else one
            for one in answers
        ]
