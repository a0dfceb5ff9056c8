"""Problems from reasoning-gym's generators, without duplicates, in two parts that can never overlap.

A question's part is decided by a hash of its text alone: whatever count or seed is asked for, now or later, a
question of the held-out part never turns up in training. Worked examples of the prompts are left out by text.
The metadata column holds what reasoning-gym's own scorer needs, and every gold answer is checked against it.
It does not know models or prompts' wording (see `prompts`).

Source: reasoning-gym 0.1.25 (open-thought/reasoning-gym), arithmetic/products.py and arithmetic/chain_sum.py.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Literal

import polars as pl

from eduprm.label import DATASETS_WITHOUT_GOLD
from eduprm.problems.prompts import shot_questions
from eduprm.problems.task_list import TASKS, Task

HELD_OUT_SHARE = 0.25
"""Share of all questions of a task that belong to the held-out part ("test")."""

_CHUNK = 512
_MAX_BARREN_CHUNKS = 20  # chunks in a row without a new question before a task counts as exhausted

Part = Literal["train", "test"]


def resolve_task(task: str, *, config: str | Mapping[str, Any] | None = None) -> Task:
    """The task of that name, or the reasoning-gym data set behind ``rg:<dataset>``.

    Args:
        task: a name out of `TASKS` or ``rg:<dataset>``.
        config: settings of the data set, a mapping or JSON text of an object; added to the named task's own.

    Raises:
        ValueError: no such task, or config is not an object or sets ``seed`` or ``size``.

    Examples:
        >>> resolve_task("rg:gcd", config='{"min_numbers": 2}').config
        {'min_numbers': 2}
    """
    if task in TASKS:
        base = TASKS[task]
    elif task.startswith("rg:") and len(task) > 3:
        base = Task(dataset=task.removeprefix("rg:"))
    else:
        raise ValueError(f"task must be one of {', '.join(TASKS)} or 'rg:<dataset>'; got {task!r}")
    settings = json.loads(config) if isinstance(config, str) else dict(config or {})
    if not isinstance(settings, dict):
        raise ValueError(f"config must be a JSON object, got {config!r}")
    if taken := sorted({"seed", "size"} & settings.keys()):
        raise ValueError(f"config must not set {taken[0]!r}: the arguments seed and count say it")
    return Task(dataset=base.dataset, config={**base.config, **settings}, keep=base.keep)


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
        task: a name out of `TASKS`, or ``rg:<dataset>`` for any other reasoning-gym data set.
        count: how many problems.
        seed: any integer.
        split: "train" or "test" (held out).
        config: settings of the data set, a mapping or JSON text.
        take_what_there_is: give fewer problems, not none of them, where the task has fewer distinct questions.

    Returns:
        ``problem_id`` is the task and a hash of the question; ``source`` is "reasoning_gym:<dataset>";
        ``metadata`` is JSON of {"task", "dataset", "config", "entry": {question, answer, metadata}};
        ``prompt_token_ids`` is null.

    Raises:
        ValueError: unknown task, data set or setting; an answer its own scorer rejects; or fewer distinct
            questions than asked for.
        ImportError: reasoning-gym is not installed.

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
    left_out = shot_questions()
    rows: dict[str, dict[str, Any]] = {}
    for entry, scorer in _entries(resolved, seed=seed):
        question = str(entry["question"])
        if question in rows or question in left_out or part_of(question) != split or not resolved.keep(entry):
            continue
        rows[question] = _row(task, resolved, entry, split=split, scorer=scorer)
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


def _entries(task: Task, *, seed: int) -> Iterator[tuple[dict[str, Any], Callable[..., float]]]:
    """Entries of the data set, chunk after chunk under hashed seeds, until it gives nothing new; and its scorer."""
    create = _create_dataset()
    seen: set[str] = set()
    barren = 0
    for chunk in range(1_000_000):
        if barren == _MAX_BARREN_CHUNKS:
            return
        # Not seed + chunk: the generators themselves add the index to the seed.
        digest = hashlib.sha256(f"{task.dataset}\x1f{seed}\x1f{chunk}".encode()).digest()
        try:
            dataset = create(task.dataset, seed=int.from_bytes(digest[:4], "big"), size=_CHUNK, **task.config)
        except (AssertionError, TypeError, ValueError) as error:
            raise ValueError(
                f"reasoning-gym refused {task.dataset!r} with {dict(task.config)}: {error}"
            ) from error
        before = len(seen)
        for index in range(_CHUNK):
            entry = dataset[index]
            seen.add(entry["question"])
            yield entry, dataset.score_answer
        barren = barren + 1 if len(seen) == before else 0


@cache
def _create_dataset() -> Callable[..., Any]:
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise ImportError(
            "problems are made by reasoning-gym, which is not installed: install the extra eduprm-bench[reasoning-gym]"
        ) from error
    return create_dataset


def _row(
    name: str, task: Task, entry: Mapping[str, Any], *, split: Part, scorer: Callable[..., float]
) -> dict[str, Any]:
    question, answer = str(entry["question"]), entry["answer"]
    try:
        metadata = json.dumps(
            {"task": name, "dataset": task.dataset, "config": dict(task.config), "entry": dict(entry)},
            sort_keys=True,
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"data set {task.dataset!r} keeps what JSON cannot: {error}") from error
    # What the grader will read, not what the generator held: JSON turns tuples to lists and keys to text.
    score = scorer(answer, json.loads(metadata)["entry"])
    has_none = answer is None and task.dataset in DATASETS_WITHOUT_GOLD
    if not has_none and (not isinstance(answer, str) or score != 1.0):
        raise ValueError(f"data set {task.dataset!r} scores its own answer {answer!r} with {score}, not 1")
    return {
        "problem_id": f"{name.replace(':', '_')}-{hashlib.sha256(question.encode()).hexdigest()[:16]}",
        "question": question,
        "answer": answer,
        "prompt_token_ids": None,
        "source": f"reasoning_gym:{task.dataset}",
        "split": split,
        "metadata": metadata,
    }
