"""How far the policy came: held-out problems solved greedily, graded, and every line checked.

"Steps" of a problem are the equations of its worked solution, or the lines of its worked answer in a file, whatever
the policy writes.
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

from eduprm.core.errors import UsageError
from eduprm.core.files import write_json_lines
from eduprm.label import NumberGrader, ReasoningGymGrader, check_gold, check_steps, grade_frame
from eduprm.policy import merged_model, resolve_model
from eduprm.problems import make_problems, messages_for
from eduprm.problems.worked import worked_solution
from eduprm.rank.bootstrap import mean_intervals
from eduprm.search import PolicyTokenizer
from eduprm.teach.adapters import stop_token
from eduprm.teach.hashing import unit
from eduprm.teach.settings import WarmupSettings
from eduprm.teach.worked_files import read_usable

_ROWS = {"cpu": 64, "cuda": 256}  # decoded at once
MANY_STEPS = 5


def held_out_problems(settings: WarmupSettings) -> pl.DataFrame:
    """Held-out problems of all test tasks (PROBLEM_SCHEMA) and of the file, with `task` and `num_steps`.

    Problems of the file have its name as task, and `num_steps` null where their answers are not worked. Rows that
    cannot be used are listed in the run folder.

    Raises:
        UsageError: an unknown task, fewer held-out problems of it than asked for, or a file of which nothing can be
            used.
    """
    frames = []
    for task in settings.tested_tasks:
        try:
            problems = make_problems(task, count=settings.num_test, seed=settings.seed, split="test")
        except ValueError as error:
            raise UsageError(f"--test-tasks: {error}") from None
        steps = [_num_steps(metadata) for metadata in problems["metadata"]]
        frames.append(
            problems.with_columns(
                pl.Series("num_steps", steps, dtype=pl.Int64), task=pl.lit(task), from_file=False
            )
        )
    if settings.test_file is not None:
        frames.append(_of_file(settings, settings.test_file))
    return pl.concat(frames, how="diagonal")


def _of_file(settings: WarmupSettings, file: Path) -> pl.DataFrame:
    read = read_usable(file, settings.test_columns, flag="--test-file", need_working=False)
    wrong = check_gold(read.problems, NumberGrader())
    rejected = [
        *read.rejected.iter_rows(named=True),
        *(
            {"problem_id": row["problem_id"], "reason": f"the gold answer {row['gold']!r} is no number"}
            for row in wrong.iter_rows(named=True)
        ),
    ]
    if rejected:
        target = write_json_lines(settings.run / "rejected" / "test.jsonl", rejected)
        print(f"held-out problems: {len(rejected)} rows of {file} cannot be used, listed in {target}")
    problems = read.problems.join(wrong, on="problem_id", how="anti", maintain_order="left")
    if not problems.height:
        raise UsageError(f"--test-file: {file}: expected numbers as gold answers, got {wrong['gold'][0]!r}")
    problems = problems.sort(pl.Series([unit("test", question) for question in problems["question"]])).head(
        settings.num_test
    )
    steps = [None if worked is None else _num_lines(worked) for worked in problems["worked"]]
    return problems.drop("worked").with_columns(
        pl.Series("num_steps", steps, dtype=pl.Int64),
        task=pl.lit(file.name.partition(".")[0]),
        from_file=True,
    )


def _num_lines(worked: str) -> int:
    """Lines of a worked answer but for the one of the final answer."""
    lines = [line.strip() for line in worked.split("\n")]
    return sum(1 for line in lines if line and not line.startswith("####"))


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
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = merged_model(resolve_model(settings.model), adapter).to(device)
    stop = stop_token(settings.model)
    order = sorted(range(len(prompts)), key=lambda index: (problems["task"][index], len(prompts[index])))
    texts = [""] * len(prompts)
    for start in range(0, len(order), _ROWS[device]):
        rows = order[start : start + _ROWS[device]]
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
        input_ids=ids.to(model.device),
        attention_mask=seen.to(model.device),
        do_sample=False,
        max_new_tokens=longest,
        eos_token_id=stop,
        pad_token_id=stop,
    )
    return [[token for token in row if token != stop] for row in out[:, width:].tolist()]


def judge(solutions: pl.DataFrame, problems: pl.DataFrame) -> pl.DataFrame:
    """Add `answer`, `correct`, `right_lines` and `lines` (lines with an equation)."""
    parts = []
    for from_file in problems["from_file"].unique(maintain_order=True):
        known = problems.filter(from_file=from_file)
        written = solutions.filter(pl.col("task").is_in(known["task"].unique().to_list()))
        with NumberGrader() if from_file else ReasoningGymGrader() as grader:
            parts.append(grade_frame(written, known, grader))
    graded = pl.concat(parts)
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
