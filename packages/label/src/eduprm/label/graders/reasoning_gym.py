"""Grade with reasoning-gym's own scorers, and make problems tables from its items.

What it is for: tasks whose right answer is not one string. A scorer gets the *extracted* answer and the entry it was
made with, which the problems table keeps as JSON. It does not generate items. The scorers run in a worker with a
bound on time and memory, and with their `eval` taken out (see `_gym_check`).
Needs the extra `eduprm-label[reasoning-gym]`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import polars as pl

from eduprm.forest import PROBLEM_SCHEMA
from eduprm.label.answer_bodies import unwrap
from eduprm.label.answers import extract_answer, extract_marked
from eduprm.label.graders._contract import Problem, gold_answer
from eduprm.label.pool import PooledGrader

SOURCE_PREFIX = "reasoning_gym:"

DATASETS_WITHOUT_GOLD = frozenset(
    {"boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"}
)
"""Data sets whose items have no answer: many are right, and the scorer tells by the metadata alone."""


class ReasoningGymGrader(PooledGrader):
    """Right when the dataset's `score_answer` gives at least `threshold`.

    The answer is what stands behind the last marker: one line where the gold answer is one line, else everything
    (grids, moves). It is scored as it is written and, if that is not right, without markdown, formula marks and a
    full stop.

    Args:
        threshold: Scores run from 0 to 1; partly right answers score between, so the default asks for all of it.
        timeout_s: Wall-clock seconds per answer; a longer one is killed, graded wrong and counted.
        memory_mib: Address space of each worker.
        num_workers: Worker processes that `grade_answers` spreads the work over.

    Raises:
        ImportError: reasoning-gym is not installed.

    Examples:
        >>> problem = {"problem_id": "p", "question": "3 * 4?", "answer": "12", "source": "reasoning_gym:products",
        ...            "metadata": None}
        >>> with ReasoningGymGrader() as grader:
        ...     grader.grade("3 * 4 = 12\\n#### 12", problem), grader.grade("#### 112", problem)
        (True, False)
    """

    name = "reasoning-gym"
    task = "reasoning-gym"

    def __init__(
        self,
        *,
        threshold: float = 1.0,
        timeout_s: float = 10.0,
        memory_mib: int | None = 4096,
        num_workers: int = 1,
    ) -> None:
        if find_spec("reasoning_gym") is None:
            raise ImportError(
                "ReasoningGymGrader needs reasoning-gym: install the extra eduprm-label[reasoning-gym]"
            )
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"expected threshold in (0, 1], got {threshold}")
        super().__init__(timeout_s=timeout_s, memory_mib=memory_mib, num_workers=num_workers)
        self.threshold = threshold

    def extract(self, text: str, problem: Problem) -> str | None:
        """What stands behind the last marker; without a marker the last number, where the gold answer is one line."""
        gold = problem.get("answer")
        whole = gold is None or "\n" in gold.strip()
        return extract_marked(text, whole=whole) or (None if whole else extract_answer(text))

    def needs_gold(self, problem: Problem) -> bool:
        """Whether the problem's scorer reads the gold answer."""
        return _dataset_name(problem) not in DATASETS_WITHOUT_GOLD

    def grade_answer(self, answer: str, problem: Problem) -> bool:
        """Whether one extracted answer is right, as it is written or unwrapped."""
        if super().grade_answer(answer, problem):
            return True
        bare = unwrap(answer)
        return bare is not None and bare != answer and super().grade_answer(bare, problem)

    def _item(self, answer: str, problem: Problem) -> dict[str, object]:
        kept = json.loads(problem.get("metadata") or "{}")
        entry = {
            "question": problem.get("question"),
            "answer": gold_answer(problem) if self.needs_gold(problem) else problem.get("answer"),
            "metadata": kept["entry"]["metadata"] if "entry" in kept else kept,
        }
        config = kept.get("config", {}) if "entry" in kept else {}
        return {"source": _dataset_name(problem), "config": config, "answer": answer, "entry": entry}

    def _is_right(self, score: float) -> bool:
        return score >= self.threshold


Grader = ReasoningGymGrader


def _dataset_name(problem: Problem) -> str:
    source = problem.get("source")
    if not isinstance(source, str) or not source.startswith(SOURCE_PREFIX):
        raise ValueError(
            f"expected source '{SOURCE_PREFIX}NAME' for {problem.get('problem_id')!r}, got {source!r}"
        )
    return source.removeprefix(SOURCE_PREFIX)


def reasoning_gym_problems(
    name: str, items: Iterable[Mapping[str, Any]], *, split: str, config: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """A problems table from items of a reasoning-gym dataset, each question once.

    Args:
        name: The dataset's registered name, "products" say.
        items: Its items (question, answer, metadata).
        split: "train" or "test".
        config: The settings that the dataset was made with, if not its defaults: some scorers read them.

    Returns:
        PROBLEM_SCHEMA; problem_id hashes the question, so equal questions get equal ids; prompt_token_ids is null;
        metadata is JSON of {"config", "entry": {"metadata"}}.

    Examples:
        >>> frame = reasoning_gym_problems("products", [{"question": "3 * 4?", "answer": "12", "metadata": {}}] * 2,
        ...                                split="train")
        >>> frame.select("problem_id", "answer", "source").rows()
        [('products-0868f533d657', '12', 'reasoning_gym:products')]
    """
    rows = [
        {
            "problem_id": f"{name}-{hashlib.sha256(item['question'].encode()).hexdigest()[:12]}",
            "question": item["question"],
            "answer": item["answer"],
            "prompt_token_ids": None,
            "source": SOURCE_PREFIX + name,
            "split": split,
            "metadata": json.dumps(
                {"config": dict(config or {}), "entry": {"metadata": item.get("metadata") or {}}}, default=str
            ),
        }
        for item in items
    ]
    return pl.DataFrame(rows, schema=PROBLEM_SCHEMA).unique("problem_id", keep="first", maintain_order=True)
