"""Solutions that the token limit cut are spoken of where they are many: at the first shard, at the end, on the page."""

from __future__ import annotations

import polars as pl

from eduprm.core.command_line import load_settings
from eduprm.pipeline.cut_solutions import CutWatch, count_cut, cut_lines, cut_tables
from eduprm.pipeline.settings import TrainSettings


def forest(tree: str, *, stop: int, length: int, pruned: int = 0) -> pl.DataFrame:
    finish = ["stop"] * stop + ["length"] * length + ["pruned"] * pruned + [None]
    return pl.DataFrame({"tree": tree, "finish": finish}, schema={"tree": pl.String, "finish": pl.String})


def test_a_line_names_strategies_shares_limits_and_the_flag():
    own = ("--strategy-options", '{"greedy": {"max_tokens_per_path": 40}}')
    settings = load_settings(TrainSettings, ["--search.budget.max-tokens-per-path", "60", *own])
    parts = [
        *(forest("edu", stop=3, length=7, pruned=90) for _ in range(2)),
        forest("temperature", stop=9, length=1),
        forest("greedy", stop=4, length=1),
    ]
    counts = count_cut(settings, parts)
    assert counts["edu"] == {"solutions": 20, "cut": 14, "limit": 60}
    assert cut_lines(counts) == [
        "solutions cut before their end: 70 % of 20 by edu (limit 60 tokens), 20 % of 5 by greedy (limit 40 tokens); "
        "give a larger --search.budget.max-tokens-per-path, and --rerun search for trees that are there"
    ]
    (table,) = cut_tables(counts)
    assert table.rows == [["edu", "20", "70 %", "60"], ["greedy", "5", "20 %", "40"]]


def test_few_cut_solutions_are_not_spoken_of():
    settings = load_settings(TrainSettings, [])
    counts = count_cut(settings, [forest("edu", stop=9, length=1)])
    assert counts == {"edu": {"solutions": 10, "cut": 1, "limit": 128}}
    assert cut_lines(counts) == cut_tables(counts) == []
    assert count_cut(settings, []) == {}


def test_the_first_shard_of_several_says_it_once(capsys):
    settings = load_settings(TrainSettings, [])
    watch = CutWatch(settings, 3)
    watch.note(forest("edu", stop=1, length=3).clear())  # all its trees were rejected
    for _ in range(2):
        watch.note(forest("edu", stop=1, length=3))
    CutWatch(settings, 1).note(forest("edu", stop=1, length=3))
    said = capsys.readouterr().err
    assert said.count("cut before their end") == 1
    assert (
        "search: first of 3 shards: solutions cut before their end: 75 % of 4 by edu (limit 128 tokens)"
        in said
    )
