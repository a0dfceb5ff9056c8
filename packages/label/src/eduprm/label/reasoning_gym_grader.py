"""Grade with reasoning-gym's own scorers, and make problems tables from its items.

What it is for: tasks whose right answer is not one string. A scorer gets the *extracted* answer and the entry it was
made with, which the problems table keeps as JSON. It does not generate items. The scorers run in a worker with a
bound on time and memory, and with their `eval` taken out (see `_gym_check`).
Needs the extra: `pip install "eduprm-label[reasoning-gym]"`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import polars as pl

from eduprm.forest import PROBLEM_SCHEMA
from eduprm.label.graders import Problem, gold_answer
from eduprm.label.pool import PooledGrader

SOURCE_PREFIX = "reasoning_gym:"


class ReasoningGymGrader(PooledGrader):
    """Right when the dataset's `score_answer` gives at least `threshold`.

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
                'ReasoningGymGrader needs reasoning-gym: pip install "eduprm-label[reasoning-gym]"'
            )
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"expected threshold in (0, 1], got {threshold}")
        super().__init__(timeout_s=timeout_s, memory_mib=memory_mib, num_workers=num_workers)
        self.threshold = threshold

    def _item(self, answer: str, problem: Problem) -> dict[str, object]:
        source = problem.get("source")
        if not isinstance(source, str) or not source.startswith(SOURCE_PREFIX):
            raise ValueError(
                f"expected source '{SOURCE_PREFIX}NAME' for {problem.get('problem_id')!r}, got {source!r}"
            )
        entry = {
            "question": problem.get("question"),
            "answer": gold_answer(problem),
            "metadata": json.loads(problem.get("metadata") or "{}"),
        }
        return {"source": source.removeprefix(SOURCE_PREFIX), "answer": answer, "entry": entry}

    def _is_right(self, score: float) -> bool:
        return score >= self.threshold


def reasoning_gym_problems(name: str, items: Iterable[Mapping[str, Any]], *, split: str) -> pl.DataFrame:
    """A problems table from items of a reasoning-gym dataset, each question once.

    Args:
        name: The dataset's registered name, "products" say.
        items: Its items (question, answer, metadata).
        split: "train" or "test".

    Returns:
        PROBLEM_SCHEMA; problem_id hashes the question, so equal questions get equal ids; prompt_token_ids is null.

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
            "metadata": json.dumps(item.get("metadata") or {}, default=str),
        }
        for item in items
    ]
    return pl.DataFrame(rows, schema=PROBLEM_SCHEMA).unique("problem_id", keep="first", maintain_order=True)
