"""The trees of report.html: held-out ones with scores, choices and grades, then the training ones with their values.

A shard is in memory at a time; the page holds no more than its bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl

from eduprm.pipeline.judge import HEADLINE_RULE, Judgement
from eduprm.pipeline.run_folder import RunFolder
from eduprm.pipeline.settings import TrainSettings
from eduprm.rank import RULES, choose
from eduprm.rank.names import rule_label
from eduprm.rank.selection import available_rules
from eduprm.report import Entry, Explorer, Filter, tree_record
from eduprm.search import PolicyTokenizer

_FILTERS = (
    Filter("held-out", "held out"),
    Filter("right", "chosen leaf right"),
    Filter("missed", "wrong choice, a right leaf was there"),
    Filter("hopeless", "no right leaf"),
    Filter("unfinished", "with unfinished leaves"),
    Filter("training", "training"),
)


def run_trees(settings: TrainSettings, folder: RunFolder, judged: Judgement) -> Explorer:
    """The explorer over all trees of the run, as far as the page has room."""
    candidates = judged.leaves.filter(pl.col("step_scores").is_not_null())
    grown = candidates.partition_by("tree", maintain_order=True)
    there = {name for rows in grown for name in available_rules(rows)} - {"oracle"}
    rules = [name for name in RULES if name in there]
    chosen: dict[tuple[str, str], dict[str, int]] = {}
    for rows in grown:
        kind = rows["tree"][0]
        fitting = [name for name in available_rules(rows) if name in rules]
        for rule, problem, leaf in (
            choose(rows, rules=fitting).select("rule", "problem_id", "leaf").iter_rows()
        ):
            chosen.setdefault((problem, str(kind)), {})[rule] = leaf
    explorer = Explorer(
        kind="trees",
        title="Trees",
        rules={name: rule_label(name) for name in rules},
        filters=_FILTERS,
        threshold=settings.search.threshold,
        left_out="All of them are in the run's folders scores/ and labels/.",
    )
    decode = _decoder(settings)
    questions = pl.read_parquet(folder.path("problems.parquet"), columns=["problem_id", "question", "answer"])
    problems = {row["problem_id"]: row for row in questions.iter_rows(named=True)}
    for split, place in (("test", "scores"), ("train", "labels")):
        for problem_id, trees, answers in _by_problem(folder, split, place, first=judged.main.tree):
            if explorer.full:
                break
            # Of what the page has no room to draw, the list still says how it went.
            pieces = None if explorer.num_undrawn else decode
            records = [
                tree_record(
                    tree, answers=answers.get(name), chosen=chosen.get((problem_id, name)), decode=pieces
                )
                for name, tree in trees
            ]
            explorer.add(_entry(problems[problem_id], split, records))
    explorer.skip(len(problems) - explorer.num_entries if explorer.full else 0)
    return explorer


def _entry(problem: dict[str, Any], split: str, records: list[dict[str, Any]]) -> Entry:
    """A problem with its trees, judged by its first one."""
    first = records[0]
    grades = [right for _, right in first["answers"].values()]
    tags = {"held-out" if split == "test" else "training"}
    leaf = first["chosen"].get(HEADLINE_RULE)
    right = first["answers"].get(str(leaf), (None, None))[1] if leaf is not None else None
    if not any(grades):
        tags.add("hopeless")
    if right is not None:
        tags.add("right" if right else "missed" if any(grades) else "wrong")
    if "length" in first["finish"]:
        tags.add("unfinished")
    return Entry(
        id=problem["problem_id"],
        text=problem["question"],
        answer=problem["answer"],
        badge=f"{sum(map(bool, grades))}/{len(grades)}",
        mark="none" if right is None else "right" if right else "wrong",
        tags=tags,
        record={"trees": records},
    )


_Answers = dict[str, dict[int, tuple[str | None, bool | None]]]


def _by_problem(
    folder: RunFolder, split: str, place: str, *, first: str
) -> Iterator[tuple[str, list[tuple[str, pl.DataFrame]], _Answers]]:
    """Problem by problem, a shard at a time: its trees, those of `first` before others, and their leaves' answers."""
    for path in sorted(folder.path(place).glob(f"{split}-*.parquet")):
        nodes, grades = pl.read_parquet(path), pl.read_parquet(folder.path("grades", path.name))
        graded = grades.partition_by("problem_id", as_dict=True)
        for (problem_id,), rows in nodes.partition_by(
            "problem_id", as_dict=True, maintain_order=True
        ).items():
            trees = [
                (str(name), tree)
                for (name,), tree in rows.partition_by("tree", as_dict=True, maintain_order=True).items()
            ]
            answers: _Answers = {}
            for tree, leaf, answer, correct in (
                graded[problem_id,].select("tree", "leaf", "answer", "correct").iter_rows()
            ):
                answers.setdefault(tree, {})[leaf] = (answer, correct)
            yield str(problem_id), sorted(trees, key=lambda item: item[0] != first), answers


def _decoder(settings: TrainSettings) -> Callable[[list[int]], str] | None:
    """The policy's tokenizer, for texts of single tokens; None where it is not to be had any more."""
    try:
        trust = settings.policy.trust_remote_code
        return PolicyTokenizer(settings.policy.model, trust_remote_code=trust).decode
    except (OSError, ValueError):
        return None
