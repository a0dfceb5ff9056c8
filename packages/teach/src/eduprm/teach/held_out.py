"""How far the policy came: held-out problems solved greedily, graded, and every line checked.

"Steps" of a problem are the equations of its worked solution, whatever the policy writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.table import Table

from eduprm.label import ReasoningGymGrader, check_steps, grade_frame
from eduprm.problems import make_problems, messages_for
from eduprm.problems.worked import worked_solution
from eduprm.rank.bootstrap import mean_intervals
from eduprm.search import PolicyTokenizer
from eduprm.teach.adapters import merged_model, stop_token
from eduprm.teach.settings import WarmupSettings

_ROWS = 64
MANY_STEPS = 5


def held_out_problems(settings: WarmupSettings) -> pl.DataFrame:
    """Held-out problems of all test tasks (PROBLEM_SCHEMA) with `task` and `num_steps`.

    Raises:
        ValueError: an unknown task, or fewer held-out problems than asked for.
    """
    frames = []
    for task in settings.test_tasks:
        problems = make_problems(task, count=settings.num_test, seed=settings.seed, split="test")
        steps = [_num_steps(metadata) for metadata in problems["metadata"]]
        frames.append(problems.with_columns(pl.Series("num_steps", steps), task=pl.lit(task)))
    return pl.concat(frames)


def _num_steps(metadata: str) -> int | None:
    kept = json.loads(metadata)
    worked = worked_solution(kept["dataset"], kept["entry"]["metadata"])
    return None if worked is None else worked.count("\n")


def solve(settings: WarmupSettings, adapter: Path, problems: pl.DataFrame) -> pl.DataFrame:
    """Greedy solutions: problem_id, task, num_steps, question, text."""
    tokenizer = PolicyTokenizer(settings.model)
    prompts = [
        tokenizer.encode_chat(messages_for(question, settings.style)) for question in problems["question"]
    ]
    model = merged_model(settings.model, adapter)
    stop = stop_token(settings.model)
    order = sorted(range(len(prompts)), key=lambda index: (problems["task"][index], len(prompts[index])))
    texts = [""] * len(prompts)
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        written = _decode(model, [prompts[row] for row in rows], stop=stop, longest=settings.max_new_tokens)
        for row, ids in zip(rows, written, strict=True):
            texts[row] = tokenizer.decode(ids)
        print(f"solved {start + len(rows)} of {len(order)} held-out problems", flush=True)
    return problems.select("problem_id", "task", "num_steps", "question", text=pl.Series(texts))


@torch.inference_mode()
def _decode(model: Any, prompts: list[list[int]], *, stop: int, longest: int) -> list[list[int]]:
    width = max(map(len, prompts))
    ids = torch.tensor([[stop] * (width - len(prompt)) + prompt for prompt in prompts])
    seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = model.generate(
        input_ids=ids,
        attention_mask=seen,
        do_sample=False,
        max_new_tokens=longest,
        eos_token_id=stop,
        pad_token_id=stop,
    )
    return [[int(token) for token in row if token != stop] for row in out[:, width:]]


def judge(solutions: pl.DataFrame, problems: pl.DataFrame) -> pl.DataFrame:
    """Add `answer`, `correct`, `right_lines` and `lines` (lines with an equation)."""
    with ReasoningGymGrader() as grader:
        graded = grade_frame(solutions, problems, grader)
    checks = [[check for check in check_steps(text) if check.has_equation] for text in graded["text"]]
    return graded.with_columns(
        pl.Series("right_lines", [sum(check.valid for check in line) for line in checks]),
        pl.Series("lines", [len(line) for line in checks]),
    )


def print_judgement(solutions: pl.DataFrame, *, seed: int) -> None:
    """One row a task: share solved with its interval, for all problems and for those of five and more steps."""
    table = Table(title="held-out problems, greedy; % right [95 %]")
    for column in ("task", "problems", "solved", f"of {MANY_STEPS}+ steps", "solved", "true lines, %"):
        table.add_column(column)
    for task in solutions["task"].unique(maintain_order=True):
        part = solutions.filter(task=task)
        hard = part.filter(pl.col("num_steps") >= MANY_STEPS)
        lines = int(part["lines"].sum())
        true = f"{100 * part['right_lines'].sum() / lines:.1f}" if lines else "-"
        table.add_row(task, str(part.height), _share(part, seed), str(hard.height), _share(hard, seed), true)
    Console(width=110, highlight=False).print(table)


def _share(part: pl.DataFrame, seed: int) -> str:
    if not part.height:
        return "-"
    part = part.sort("problem_id")
    right = part["correct"].cast(pl.Float64).to_numpy()
    [(low, high)] = mean_intervals(np.asarray(right)[:, None], part["problem_id"].to_list(), seed=seed)
    return f"{100 * right.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"
