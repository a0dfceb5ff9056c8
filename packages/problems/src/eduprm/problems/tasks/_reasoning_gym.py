"""Tasks of reasoning-gym's data sets: generated without end, graded by the data set's own scorer.

Source: reasoning-gym 0.1.25 (open-thought/reasoning-gym).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from eduprm.label import DATASETS_WITHOUT_GOLD
from eduprm.problems.tasks._contract import Row
from eduprm.problems.worked import worked_solution

__all__ = ["ReasoningGym", "no_zero", "small_steps"]

_CHUNK = 512
_MAX_BARREN_CHUNKS = 20  # chunks in a row without a new question before a task counts as exhausted
_NUMBER = re.compile(r"(?<!\d )-?\d+")
_SIGNED_OPERAND = re.compile(r"-\d")
_ZERO_OPERAND = re.compile(r"(?<![\d.])0+(?![\d.])")

Entry = Mapping[str, Any]


def no_zero(entry: Entry) -> bool:
    """Whether no operand is 0: with a zero factor every wrong step before it still ends in the right answer."""
    return not _ZERO_OPERAND.search(str(entry["metadata"].get("expression", "")))


def small_steps(dataset: str) -> Callable[[Entry], bool]:
    """Whether an entry can be worked with no number below 0 or above 99 on the way."""

    def keep(entry: Entry) -> bool:
        expression = str(entry["metadata"].get("expression", ""))
        if _SIGNED_OPERAND.search(expression) or ("*" in expression and not no_zero(entry)):
            return False
        worked = worked_solution(dataset, entry["metadata"])
        return worked is not None and all(0 <= int(number) <= 99 for number in _NUMBER.findall(worked))

    return keep


class ReasoningGym:
    """A data set, its settings, and which of its questions are wanted.

    Args:
        dataset: registered name.
        defaults: settings of the data set; `config` is added to them.
        keep: which entries are wanted.
        shots: worked examples.

    Raises:
        ValueError: config sets `seed` or `size`.
    """

    grader = "reasoning-gym"

    def __init__(
        self,
        dataset: str,
        defaults: Mapping[str, Any] | None = None,
        *,
        keep: Callable[[Entry], bool] = lambda entry: True,
        shots: tuple[tuple[str, str], ...] = (),
        **config: Any,
    ) -> None:
        if taken := sorted({"seed", "size"} & config.keys()):
            raise ValueError(f"config must not set {taken[0]!r}: the arguments seed and count say it")
        self.dataset = dataset
        self.config = {**(defaults or {}), **config}
        self.keep = keep
        self.shots = shots

    def rows(self, seed: int) -> Iterator[Row]:
        """Yield entries, chunk after chunk under hashed seeds, until the data set gives nothing new.

        Raises:
            ValueError: no such data set or setting.
            ImportError: reasoning-gym is not installed.
        """
        create = _create_dataset()
        seen: set[str] = set()
        barren = 0
        for chunk in range(1_000_000):
            if barren == _MAX_BARREN_CHUNKS:
                return
            # Not seed + chunk: the generators themselves add the index to the seed.
            digest = hashlib.sha256(f"{self.dataset}\x1f{seed}\x1f{chunk}".encode()).digest()
            drawn = int.from_bytes(digest[:4], "big")
            try:
                dataset = create(self.dataset, seed=drawn, size=_CHUNK, **self.config)
            except (AssertionError, TypeError, ValueError) as error:
                raise ValueError(
                    f"reasoning-gym refused {self.dataset!r} with {dict(self.config)}: {error}"
                ) from error
            before = len(seen)
            for index in range(_CHUNK):
                entry = dataset[index]
                seen.add(entry["question"])
                if self.keep(entry):
                    yield self._row(entry, dataset.score_answer)
            barren = barren + 1 if len(seen) == before else 0

    def _row(self, entry: Entry, scorer: Callable[..., float]) -> Row:
        return {
            "question": str(entry["question"]),
            "answer": entry["answer"],
            "source": f"reasoning_gym:{self.dataset}",
            "metadata": {"dataset": self.dataset, "config": dict(self.config), "entry": dict(entry)},
            "check": partial(self._check, entry, scorer),
        }

    def _check(self, entry: Entry, scorer: Callable[..., float]) -> None:
        answer = entry["answer"]
        try:
            kept = json.loads(json.dumps(dict(entry), sort_keys=True))
        except (TypeError, ValueError) as error:
            raise ValueError(f"data set {self.dataset!r} keeps what JSON cannot: {error}") from error
        # What the grader will read, not what the generator held: JSON turns tuples to lists and keys to text.
        score = scorer(answer, kept)
        has_none = answer is None and self.dataset in DATASETS_WITHOUT_GOLD
        if not has_none and (not isinstance(answer, str) or score != 1.0):
            raise ValueError(
                f"data set {self.dataset!r} scores its own answer {answer!r} with {score}, not 1"
            )


@cache
def _create_dataset() -> Callable[..., Any]:
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise ImportError(
            "problems are made by reasoning-gym, which is not installed: install the extra "
            "eduprm-problems[reasoning-gym]"
        ) from error
    return create_dataset
