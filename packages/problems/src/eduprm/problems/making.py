"""Problems of a task, without duplicates, in two parts that can never overlap.

A question's part is decided by a hash of its text alone: whatever count or seed is asked for, now or later, a
question of the held-out part never turns up in training (a task whose data have parts of their own keeps these).
Worked examples of the prompts are left out by text. It does not know models or prompts' wording (see `prompts`).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import polars as pl

from eduprm.core import registry
from eduprm.problems.prompts import TASKS, shot_questions
from eduprm.problems.tasks._contract import ProblemTask
from eduprm.problems.tasks._reasoning_gym import ReasoningGym

HELD_OUT_SHARE = 0.25
"""Share of all questions of a task that belong to the held-out part ("test")."""

_MAX_REPEATS = 20_480  # rows in a row without a new question before a task counts as exhausted
_ID = re.compile(r"[^A-Za-z0-9_-]")

Part = Literal["train", "test"]


def resolve_task(task: str, *, config: str | Mapping[str, Any] | None = None) -> ProblemTask:
    """The task of that name: a module of `eduprm.problems.tasks`, `package.module:Task`, or `rg:<dataset>`.

    Args:
        task: the name; `rg:<dataset>` is any data set of reasoning-gym.
        config: the task's settings, a mapping or JSON text of an object.

    Raises:
        ValueError: no such task or setting, or config is not an object or sets ``seed`` or ``size``.

    Examples:
        >>> resolve_task("rg:gcd", config='{"min_numbers": 2}').config
        {'min_numbers': 2}
    """
    settings = json.loads(config) if isinstance(config, str) else dict(config or {})
    if not isinstance(settings, dict):
        raise ValueError(f"config must be a JSON object, got {config!r}")
    if task.startswith("rg:") and len(task) > 3:
        return ReasoningGym(task.removeprefix("rg:"), **settings)
    if ":" not in task and task not in registry.names(TASKS):
        known = ", ".join(registry.names(TASKS))
        raise ValueError(f"task must be one of {known}, 'rg:<dataset>' or package.module:Task; got {task!r}")
    made: ProblemTask = registry.make(TASKS, task, "Task", settings)
    return made


def part_of(question: str) -> Part:
    """The part a question belongs to, from its text alone.

    Examples:
        >>> part_of("What is 1 + 1?") == part_of("What is 1 + 1?")
        True
    """
    digest = hashlib.sha256(b"part\x1f" + question.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64 else "train"


def make_problems(
    task: str,
    *,
    count: int,
    seed: int,
    split: Part = "train",
    config: str | Mapping[str, Any] | None = None,
    take_what_there_is: bool = False,
) -> pl.DataFrame:
    """Distinct problems of one part of a task: a frame of `eduprm.forest.PROBLEM_SCHEMA`.

    The first problems of a larger count are those of a smaller one. Seeds are hashed, so neighbouring seeds give
    unrelated draws (of the same questions, where a task has few).

    Args:
        task: a name, as for `resolve_task`.
        count: how many problems.
        seed: any integer.
        split: "train" or "test" (held out).
        config: settings of the task, a mapping or JSON text.
        take_what_there_is: give fewer problems, not none of them, where the task has fewer distinct questions.

    Returns:
        ``problem_id`` is the task and a hash of the question; ``prompt_token_ids`` is null; ``source`` is the task's
        ("reasoning_gym:<dataset>" for generated ones), else its name; ``metadata`` is JSON of "task" and what the task
        keeps ("dataset", "config" and "entry": {question, answer, metadata} of reasoning-gym's).

    Raises:
        ValueError: unknown task, data set or setting; an answer its own scorer rejects; or fewer distinct
            questions than asked for.
        ImportError: what makes the rows is not installed.

    Examples:
        >>> problems = make_problems("products", count=3, seed=0)
        >>> problems["source"].unique().to_list(), problems["question"].n_unique()
        (['reasoning_gym:products'], 3)
    """
    from eduprm.forest import PROBLEM_SCHEMA

    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    resolved = resolve_task(task, config=config)
    left_out = shot_questions() | {question for question, _ in resolved.shots}
    rows: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    repeats = 0
    for row in resolved.rows(seed):
        question = str(row["question"])
        repeats = repeats + 1 if question in seen else 0
        seen.add(question)
        if repeats == _MAX_REPEATS:
            break
        if question in rows or question in left_out or (row.get("split") or part_of(question)) != split:
            continue
        rows[question] = _row(task, row, split=split)
        if len(rows) == count:
            return pl.DataFrame(list(rows.values()), schema=PROBLEM_SCHEMA)
    if rows and take_what_there_is:
        return pl.DataFrame(list(rows.values()), schema=PROBLEM_SCHEMA)
    raise ValueError(
        f"task {task!r} gave only {len(rows)} distinct questions for split {split!r}, wanted {count}"
    )


def make_split(
    task: str,
    *,
    train: int,
    test: int,
    seed: int,
    config: str | Mapping[str, Any] | None = None,
    take_what_there_is: bool = False,
) -> pl.DataFrame:
    """Train problems followed by held-out ones, in one frame; no question text stands in both parts.

    `take_what_there_is` as in `make_problems`.

    Raises:
        ValueError, ImportError: as `make_problems`.

    Examples:
        >>> make_split("chain_sum", train=2, test=1, seed=0)["split"].to_list()
        ['train', 'train', 'test']
    """
    given: dict[str, Any] = {"seed": seed, "config": config, "take_what_there_is": take_what_there_is}
    learn = make_problems(task, count=train, split="train", **given)
    held_out = make_problems(task, count=test, split="test", **given)
    problems = pl.concat([learn, held_out])
    assert problems["question"].n_unique() == problems.height, "train and held-out parts share a question"
    return problems


def _row(name: str, row: Mapping[str, Any], *, split: Part) -> dict[str, Any]:
    question, metadata = str(row["question"]), row.get("metadata")
    if check := row.get("check"):
        check()
    try:
        kept = json.dumps({"task": name, **(metadata or {})}, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"task {name!r} keeps what JSON cannot: {error}") from error
    return {
        "problem_id": f"{_ID.sub('_', name)}-{hashlib.sha256(question.encode()).hexdigest()[:16]}",
        "question": question,
        "answer": row["answer"],
        "prompt_token_ids": None,
        "source": row.get("source") or name,
        "split": split,
        "metadata": kept,
    }
