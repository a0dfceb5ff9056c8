"""Stage `label`: grade the leaves, value the nodes; one file in, one out, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from eduprm.core.command_line import UsageError
from eduprm.core.progress import bar, say
from eduprm.forest import leaf_paths, read_forest, write_shard, write_table
from eduprm.label import filter_rows, get_grader, grade_leaves, label_forest, weigh_questions
from eduprm.label.judges.scores import COLUMN as JUDGE_SCORE
from eduprm.pipeline.gold_check import gradable, reject_gold
from eduprm.pipeline.label_judge import open_judge, score_nodes
from eduprm.pipeline.label_steps import ENDS, step_segmenters
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.settings_parts import ProblemSettings, parse_tasks
from eduprm.prm.solutions import StepScorer
from eduprm.problems import resolve_task
from eduprm.search import PolicyTokenizer
from eduprm.search.steps import cut_at_steps

_GRADE_COLUMNS = ("problem_id", "tree", "leaf", "answer", "correct")


def grader_name(problem: ProblemSettings, file: Path | None) -> str:
    """The grader that "auto" stands for, of problems that come from a file or from elsewhere.

    Raises:
        UsageError: several tasks with graders of their own.
    """
    if problem.grader != "auto":
        return problem.grader
    if file is not None:
        return "number"
    if problem.dataset is not None:
        return "math"
    graders = {
        resolve_task(task, config=dict(problem.task_config)).grader for task in parse_tasks(problem.task)
    }
    if len(graders) > 1:
        raise UsageError(
            f"--problem.task: these tasks are graded by {', '.join(sorted(graders))}: "
            "give --problem.grader, or one task"
        )
    return graders.pop()


def label_stage(settings: TrainSettings, folder: RunFolder) -> dict[str, Any]:
    """Write grades/*.parquet and labels/*.parquet, without the problems whose gold answers the grader does not take.

    Raises:
        UsageError: no such grader, it takes no gold answer, or there are no trees.
    """
    problems = pl.read_parquet(folder.path("problems.parquet"))
    files = sorted(folder.path("forest").glob("*.parquet"))
    todo = [path for path in files if not folder.path("labels", path.name).is_file()]
    if todo:
        _label(settings, folder, problems, todo)
    left_out = problems.height - gradable(folder, problems).height
    return {**_summary(folder), **({"problems_left_out": left_out} if left_out else {})}


def _label(settings: TrainSettings, folder: RunFolder, problems: pl.DataFrame, todo: list[Any]) -> None:
    policy = settings.policy
    tokenizer = PolicyTokenizer(policy.model, trust_remote_code=policy.trust_remote_code)
    name = grader_name(settings.problem, settings.problems)
    judge = open_judge(settings)
    with open_grader(name, settings.problem.grader_options) as grader:
        known = reject_gold(folder, problems, grader, name)["problem_id"].to_list()
        with bar("label", total=len(todo)) as shown:
            for path in todo:
                forest = read_forest(path).filter(pl.col("problem_id").is_in(known))
                graded, labelled = _labelled(settings, forest, problems, grader, tokenizer)
                weights: dict[str, Any] = {}  # held-out questions weigh alike, in the columns of training's
                if path.stem.startswith("train"):
                    if judge is not None:
                        labelled = _judged(labelled, problems, judge, path.stem)
                    if settings.label.filter is not None:
                        kind, own = settings.label.filter, settings.label.filter_options
                        labelled = filter_rows(labelled, filter=kind, options=own)
                    weights = {"weights": settings.label.weights, "options": settings.label.weights_options}
                labelled = weigh_questions(labelled, graded, **weights)
                write_table(graded, folder.path("grades", path.name))
                write_shard(labelled, folder.path("labels"), path.stem)
                shown.advance()


def _judged(labelled: pl.DataFrame, problems: pl.DataFrame, judge: StepScorer, shard: str) -> pl.DataFrame:
    """With the scores of the filter's judge; solutions without any are said."""
    found = score_nodes(labelled, problems, judge)
    if found.unscored:
        say(
            f"label: {shard}: the judge scores {found.unscored} of {found.solutions} solutions not, and they are left "
            f"out; the first: {found.reason}"
        )
    return found.trees


@contextmanager
def open_grader(name: str, options: Mapping[str, Any] | None = None) -> Iterator[Any]:
    """The grader of this name, its worker ended behind it.

    Raises:
        UsageError: no such grader, or no such option.
    """
    try:
        grader = get_grader(name, **(options or {}))
    except (ValueError, ImportError) as error:
        raise UsageError(f"--problem.grader: {error}") from None
    try:
        yield grader
    finally:
        if hasattr(grader, "close"):
            grader.close()


def _labelled(
    settings: TrainSettings,
    forest: pl.DataFrame,
    problems: pl.DataFrame,
    grader: Any,
    tokenizer: PolicyTokenizer,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The leaves' grades, and the trees cut at the steps that carry labels; other nodes weigh nothing."""
    steps, ends = cut_at_steps(forest, step_segmenters(settings), tokenizer=tokenizer)
    graded = grade_trees(steps, problems, grader)
    options = settings.label.model_dump(
        include={"rule", "rule_options", "target", "hard_threshold", "node_weight"}
    )
    return graded, label_steps(steps, ends, graded, **options)


def grade_trees(forest: pl.DataFrame, problems: pl.DataFrame, grader: Any) -> pl.DataFrame:
    """problem_id, tree, leaf (node id), answer and correct of every leaf."""
    return grade_leaves(leaf_paths(forest), problems, grader).select(_GRADE_COLUMNS)


def label_steps(steps: pl.DataFrame, ends: pl.Series, graded: pl.DataFrame, **options: Any) -> pl.DataFrame:
    """Trees with labels (`eduprm.label.label_forest`); only nodes at whose end a step ends have a weight.

    Which these are says the column `ends_step`: not all of them need have one.

    Args:
        steps: trees, cut at their steps.
        ends: per node, whether a step ends with it.
        graded: problem_id, tree, leaf and correct of every leaf.
        options: of `label_forest`.
    """
    leaves = graded.select("problem_id", "tree", "correct", node_id="leaf")
    labelled = label_forest(steps, leaves, **options)
    weight = pl.when(ends).then("weight").otherwise(0.0)
    return labelled.with_columns(weight.alias("weight"), ends.alias(ENDS))


def _summary(folder: RunFolder) -> dict[str, Any]:
    labelled = pl.scan_parquet(folder.path("labels", "train-*.parquet"))
    counts = labelled.select(
        nodes=pl.len(),
        weighed=(pl.col("weight") > 0).sum(),
        hard=((pl.col("value") == 0) | (pl.col("value") == 1)).mean(),
        roots_right=pl.col("value").filter(pl.col("parent_id").is_null()).mean(),
    ).collect()
    facts = counts.row(0, named=True)
    if not facts["nodes"]:
        raise UsageError(
            f"label: no tree is left to train on: what could not be grown is listed in {folder.path('rejected/search')}"
        )
    same = facts["weighed"] == facts["nodes"]
    weighed = "" if same else f" ({facts['weighed']} with a label that weighs something)"
    say(
        f"label: {facts['nodes']} fragments to train on{weighed}, {facts['hard']:.0%} of them with value 0 or 1; "
        f"mean value of the roots {facts['roots_right']:.2f}"
    )
    return {
        "train_nodes": facts["nodes"],
        "hard_share": facts["hard"],
        "mean_root_value": facts["roots_right"],
        **_left_out(labelled),
    }


def _left_out(labelled: pl.LazyFrame) -> dict[str, int]:
    """What a filter left out of the training trees, said; nothing without one."""
    if "kept" not in labelled.collect_schema():
        return {}
    rows = labelled.select(rows=pl.col("kept").count(), left_out=(~pl.col("kept")).sum()).collect()
    count, left = rows.row(0)
    say(f"label: {left} of {count} training solutions are left out by the filter, {count - left} are kept")
    facts = {"filtered_solutions": count, "left_out_solutions": left}
    if JUDGE_SCORE in labelled.collect_schema():
        rows = labelled.select((pl.col("kept").is_not_null() & pl.col(JUDGE_SCORE).is_null()).sum()).collect()
        facts["unjudged_solutions"] = rows.item()
        say(f"label: the judge could not score {rows.item()} of them")
    return facts
