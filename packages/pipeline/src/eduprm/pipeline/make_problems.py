"""Stage `problems`: questions with gold answers, in two parts that share none, and the prompts for the policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.command_line import UsageError, first_line
from eduprm.core.files import write_json_lines
from eduprm.core.progress import say
from eduprm.forest import PROBLEM_SCHEMA, ForestError, validate_problems, write_table
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.settings_parts import ProblemSettings, parse_tasks
from eduprm.problems import make_split, messages_for, read_problems, style_for
from eduprm.problems.making import part_of
from eduprm.problems.prompts import ZERO_SHOT, taught_style
from eduprm.search import PolicySettings, PolicyTokenizer


def make_problems_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write problems.parquet.

    Raises:
        UsageError: the source gives no problems, or none for one of the two parts.
    """
    problems, style = problems_of(
        settings.problem,
        policy=settings.policy,
        seed=settings.seed,
        folder=folder.root,
        file=settings.problems,
        test_file=settings.test_problems,
        limit=settings.limit,
    )
    write_table(problems, folder.path("problems.parquet"))
    counts = dict(problems.group_by("split").len().sort("split").iter_rows())
    say(f"problems: {counts['train']} to train on, {counts['test']} held out; prompt style {style}")
    return {"problems": counts, "style": style}


def problems_of(
    wanted: ProblemSettings,
    *,
    policy: PolicySettings,
    seed: int,
    folder: Path,
    file: Path | None = None,
    test_file: Path | None = None,
    limit: int | None = None,
) -> tuple[pl.DataFrame, str]:
    """Problems to train on and to hold out, with the prompts for the policy.

    Args:
        wanted: where they come from.
        policy: whose prompts.
        seed: of generated problems.
        folder: rows that cannot be used are listed below it, in rejected/problems.jsonl and, of what is held out,
            rejected/test_problems.jsonl.
        file: a file of problems, instead of a task or data set.
        test_file: a file of problems, all of which are held out, and with it all of `file` is trained on.
        limit: take only the first so many of the file or data set.

    Returns:
        PROBLEM_SCHEMA with splits train and test, and the prompts' style.

    Raises:
        UsageError: the source gives no problems, or none for one of the two parts, or the policy's tokenizer cannot
            be loaded.
    """
    if file is not None:
        problems, usual = _read(file, wanted, folder, limit), "gsm8k"
        if test_file is None:
            problems = _split(problems, str(file))
        else:
            problems = _hold_out(problems, _read(test_file, wanted, folder, None, held_out=True), str(file))
    elif wanted.dataset is not None:
        problems, usual = _from_dataset(wanted, folder, limit), ZERO_SHOT
    else:
        problems = _generated(wanted, seed)
        usual = wanted.style or _style(wanted.task, policy)
    style = wanted.style or taught_style(policy.model) or usual
    try:
        tokenizer = PolicyTokenizer(policy.model, trust_remote_code=policy.trust_remote_code)
    except Exception as error:  # transformers raises many kinds: no such name, no network, broken files
        raise UsageError(
            f"--policy.model: the tokenizer of {policy.model} cannot be loaded: {first_line(error)}"
        ) from error
    try:
        prompts = [tokenizer.encode_chat(messages_for(question, style)) for question in problems["question"]]
    except ValueError as error:
        raise UsageError(f"--problem.style: {error}") from None
    problems = problems.with_columns(pl.Series("prompt_token_ids", prompts, dtype=pl.List(pl.Int32)))
    return validate_problems(problems.select(list(PROBLEM_SCHEMA))), style


def _style(tasks: str, policy: PolicySettings) -> str:
    """A taught policy answers the bare question; any other wants worked examples of the task."""
    styles = {style_for(task, policy=policy.model) for task in parse_tasks(tasks)}
    if len(styles) > 1:
        raise UsageError(
            f"--problem.task: these tasks have worked examples of their own ({', '.join(sorted(styles))}), and a PRM "
            "remembers one prompt style: give --problem.style, or one task"
        )
    return styles.pop()


def _generated(wanted: ProblemSettings, seed: int) -> pl.DataFrame:
    """Problems of all tasks by their shares; a task with too few distinct questions gives those it has."""
    parts = []
    for task, share in parse_tasks(wanted.task).items():
        counts = {
            "train": max(1, round(share * wanted.num_train)),
            "test": max(1, round(share * wanted.num_test)),
        }
        try:
            part = make_split(
                task, **counts, seed=seed, config=dict(wanted.task_config), take_what_there_is=True
            )
        except ValueError as error:
            raise UsageError(f"--problem: {error}") from None
        for split, count in counts.items():
            found = part.filter(split=split).height
            if found < count:
                say(
                    f"problems: {task} has {found} distinct {split} questions, {count} were asked for: taking these"
                )
        parts.append(part)
    return pl.concat(parts).sort(pl.col("split") == "test", maintain_order=True)


def _read(
    path: Path, wanted: ProblemSettings, folder: Path, limit: int | None, *, held_out: bool = False
) -> pl.DataFrame:
    """Problems of a file, each question once; rows that cannot be used are listed in the run folder."""
    name = "test_problems" if held_out else "problems"
    flag = f"--{name.replace('_', '-')}"
    try:
        read = read_problems(path, columns=wanted.columns, limit=limit, require_answer=True)
    except (ForestError, ValueError) as error:
        raise UsageError(f"{flag}: {error}") from None
    target = folder / "rejected" / f"{name}.jsonl"
    target.unlink(missing_ok=True)  # of a file that was refused before
    if read.rejected.height:
        write_json_lines(target, read.rejected.iter_rows(named=True))
        if not read.problems.height:
            rows, first = read.rejected.height, read.rejected["reason"][0]
            raise UsageError(
                f"{flag}: {path}: none of {rows} rows can be used, all are listed in {target}; {first}"
            )
        say(f"problems: {read.rejected.height} rows of {path} rejected, listed in {target}")
    elif not read.problems.height:
        raise UsageError(
            f"{flag}: {path} is empty; expected a question and a gold answer a row, as JSONL or Parquet"
        )
    return read.problems.unique("question", keep="first", maintain_order=True)


def _hold_out(learn: pl.DataFrame, test: pl.DataFrame, source: str) -> pl.DataFrame:
    """All of one table to train on, but for questions of the other one, which is held out.

    Sources number their rows alike: an id that names another problem of the other table is given a prefix.
    """
    there = pl.col("question").is_in(test["question"].to_list())
    apart = learn.filter(~there)
    if taken := learn.height - apart.height:
        say(f"problems: {taken} of {source} are held out too and not trained on")
    if not apart.height:
        raise UsageError(
            f"--problems: all {taken} questions of {source} are held out; give others to train on"
        )
    named = pl.col("problem_id").is_in(test["problem_id"].to_list())
    apart = apart.with_columns(
        pl.when(named).then("train-" + pl.col("problem_id")).otherwise("problem_id").alias("problem_id"),
        split=pl.lit("train"),
    )
    return pl.concat([apart, test.with_columns(split=pl.lit("test"))])


def _split(problems: pl.DataFrame, source: str) -> pl.DataFrame:
    """A quarter held out, by a hash of the question's text: the same question can never be on both sides."""
    problems = problems.with_columns(split=pl.col("question").map_elements(part_of, return_dtype=pl.String))
    for split in ("train", "test"):
        if not problems.filter(split=split).height:
            raise UsageError(
                f"--problems: {source} gives {problems.height} usable problems and none of them falls into the "
                f"{split} part (3 to 1 by a hash of the question); give more problems"
            )
    return problems


def _from_dataset(wanted: ProblemSettings, folder: Path, limit: int | None) -> pl.DataFrame:
    """Problems of a data set of the hub, by way of a Parquet file in the run folder."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    assert wanted.dataset is not None
    parts = []
    for split in filter(None, (wanted.dataset_split, wanted.test_split)):
        target = folder / f".source-{split}.parquet"
        try:
            load_dataset(wanted.dataset, wanted.dataset_config, split=split).to_parquet(target)
        except Exception as error:  # the library raises many kinds: no network, no such name, no such split
            raise UsageError(
                f"--problem.dataset: {wanted.dataset!r}, split {split!r}: {first_line(error)}"
            ) from None
        held_out = split == wanted.test_split
        parts.append(_read(target, wanted, folder, wanted.num_test if held_out else limit, held_out=held_out))
        target.unlink()
    if wanted.test_split is None:
        return _split(parts[0], wanted.dataset)
    return _hold_out(parts[0], parts[1], wanted.dataset)
