"""Where the scores come from: a PRM in a folder, loaded into this process, or one that a service holds.

For: the identity under which scores are kept, and a function that scores steps. Does not know: files of solutions,
ranking. torch is loaded by `LocalPrm.load` alone.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from eduprm.core.errors import UsageError, first_line
from eduprm.prm.prm_folder import folder_digest
from eduprm.rank.default_prm import named_prm, unnamed_prm
from eduprm.rank.settings import Settings

StepScores = Callable[[Sequence[tuple[str, list[str]]]], Sequence[list[float] | str]]
"""Takes (problem, steps) of many solutions; gives, in order, one score per step, or why there are none."""


class PrmSource(Protocol):
    """A PRM that is known but not loaded."""

    name: str

    def key(self) -> Any:
        """What tells this PRM from every other, as JSON has it."""

    def saved_cut(self) -> Any:
        """How it says its training cut solutions (`eduprm.prm.StepCut` as JSON), or None."""

    def load(self) -> StepScores:
        """Get it ready; UsageError if that fails."""


def find_source(settings: Settings) -> PrmSource:
    """The PRM that the settings name; where they name none, a line on stderr says which is taken.

    Raises:
        UsageError: there is none.
    """
    if settings.prm_url is not None and settings.prm_server == "eduprm":
        from eduprm.rank.served import ServedPrm

        return ServedPrm(settings.prm_url, wait_s=settings.prm_wait_s)
    if settings.prm is not None:
        name, folder = settings.prm, named_prm(settings.prm)
    else:
        name, folder, line = unnamed_prm(settings.file)
        print(f"rerank: {line}", file=sys.stderr)
    if settings.prm_url is None:
        return LocalPrm(folder, settings, name=name)
    from eduprm.rank.served_likelihood import ServedLikelihood

    return ServedLikelihood(settings.prm_url, folder, settings, name=name)


class LocalPrm:
    """A PRM of a folder."""

    def __init__(self, folder: Path, settings: Settings, *, name: str) -> None:
        self.name = name
        self._folder = folder
        self._settings = settings
        self._prm: Any = None

    def key(self) -> Any:
        """Content of the folder."""
        return folder_digest(self._folder)

    def saved_cut(self) -> Any:
        """What stands in its config.json; a file that cannot be read is said when it is loaded."""
        try:
            return json.loads((self._folder / "config.json").read_text(encoding="utf-8"))["eduprm"]["steps"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def load(self) -> StepScores:
        """Load it.

        Raises:
            UsageError: the folder holds no PRM that can be loaded.
        """
        try:
            self._prm = self._open()
        except (
            Exception
        ) as error:  # transformers, safetensors and tokenizers raise many kinds; the cause is kept
            device = self._settings.device
            where = "" if device is None else f" on --device {device}"
            message = f"--prm: {self.name} cannot be loaded as a PRM{where}: {first_line(error)}"
            raise UsageError(message) from error
        return self._score

    def _open(self) -> Any:
        settings = self._settings
        from eduprm.prm import load_step_scorer

        return load_step_scorer(
            self._folder,
            format=settings.format,
            marks=settings.marks,
            device=settings.device,
            dtype=settings.dtype,
            batch_tokens=settings.batch_tokens,
        )

    def _score(self, solutions: Sequence[tuple[str, list[str]]]) -> Sequence[list[float] | str]:
        prompts: dict[str, list[int]] = {}
        built = [self._build(problem, steps, prompts) for problem, steps in solutions]
        scores = iter(self._forward([one for one in built if not isinstance(one, str)]))
        answers = [one if isinstance(one, str) else next(scores) for one in built]
        return [
            answer
            if isinstance(answer, str) or all(map(math.isfinite, answer))
            else "the PRM's scores are not numbers; try --dtype float32"
            for answer in answers
        ]

    def _build(
        self, problem: str, steps: list[str], prompts: dict[str, list[int]]
    ) -> tuple[list[int], list[list[int]]] | str:
        """Build the PRM's input, or say why there is none."""
        try:
            if problem not in prompts:
                prompts[problem] = self._prm.builder.prompt_ids(problem)
            ids = self._prm.builder.solution_ids(steps, as_cut=True)
        except ValueError as error:
            return f"cannot be read by the PRM ({first_line(error)}); take it out"
        total = len(prompts[problem]) + sum(map(len, ids))
        most = self._prm.max_tokens
        if most is not None and total > most:
            return (
                f"it has {total} tokens with its problem, the PRM's context holds {most}; "
                "shorten it or use a PRM with a longer context"
            )
        return prompts[problem], ids

    def _forward(self, items: Sequence[Any]) -> Sequence[list[float] | str]:
        try:
            return self._prm.score_ids(items) if items else []
        except RuntimeError as error:
            if "out of memory" not in str(error):
                raise
            raise UsageError(
                f"out of memory with --batch-tokens {self._settings.batch_tokens}; set it lower"
            ) from error
