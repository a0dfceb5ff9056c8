"""What growing refuses, and how it says so: one clear line, before or instead of a crash."""

from __future__ import annotations

import copy

import polars as pl
import pytest
import torch

from eduprm.search import EduSampling, Greedy, HighTemperature, TransformersEngine, grow_forest, score_tokens


@pytest.fixture
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)


def test_prompts_that_cannot_be_read_are_set_aside_and_the_rest_goes_on(engine, problems, letters):
    table = problems([(5, 6), (7,) * 700, (5, 61), (-1, 5), ()])
    far = pl.DataFrame({"problem_id": ["far"], "prompt_token_ids": [[5, 2**40]]})
    table = pl.concat([table.cast({"prompt_token_ids": pl.List(pl.Int64)}), far])
    growth = grow_forest(table, strategies=[Greedy()], engine=engine, tokenizer=letters)
    assert growth.forest["problem_id"].unique().to_list() == ["p0"]
    reasons = dict(growth.rejected.select("problem_id", "reason").iter_rows())
    assert sorted(reasons) == ["far", "p1", "p2", "p3", "p4"]
    assert "700" in reasons["p1"]
    assert "token id 61 is outside of the model's vocabulary of 61" in reasons["p2"]
    assert "token id -1 is outside" in reasons["p3"]
    assert f"token id {2**40} is outside" in reasons["far"]
    assert "at least one token" in reasons["p4"]


def test_two_strategies_of_one_name_are_refused(engine, problems, letters):
    with pytest.raises(ValueError, match="different tree names"):
        grow_forest(problems([(5, 6)]), strategies=[Greedy(), Greedy()], engine=engine, tokenizer=letters)


@pytest.mark.parametrize("concurrency", [0, -2])
def test_growing_nothing_at_once_is_refused(engine, problems, letters, concurrency):
    with pytest.raises(ValueError, match=f"concurrency: expected at least 1 tree at once, got {concurrency}"):
        grow_forest(
            problems([(5, 6)]),
            strategies=[Greedy()],
            engine=engine,
            tokenizer=letters,
            concurrency=concurrency,
        )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"problem_id": ["a"]}, "prompt_token_ids missing"),
        ({"prompt_token_ids": [[5]]}, "problem_id missing"),
        ({"problem_id": ["a", "b", "a"], "prompt_token_ids": [[5], [6], [7]]}, "got 'a' more than once"),
        ({"problem_id": [1], "prompt_token_ids": [[5]]}, "problem_id: expected texts, got Int64"),
        ({"problem_id": ["a", None], "prompt_token_ids": [[5], [6]]}, "problem_id: .*1 have none"),
        ({"problem_id": ["a", "b"], "prompt_token_ids": [[5], None]}, "the first is 'b'"),
        ({"problem_id": ["a", "b"], "prompt_token_ids": [[5], [6, None]]}, "the first is 'b'"),
        ({"problem_id": ["a"], "prompt_token_ids": ["5 6"]}, "expected lists of whole numbers"),
    ],
)
def test_tables_that_hold_no_prompts_are_refused(engine, letters, table, message):
    with pytest.raises(ValueError, match=message):
        grow_forest(pl.DataFrame(table), strategies=[Greedy()], engine=engine, tokenizer=letters)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_rows": 0}, "max_rows: expected at least 1, got 0"), ({"cache_tokens": -1}, "cache_tokens")],
)
def test_engines_of_no_size_are_refused(tiny_model, options, message):
    with pytest.raises(ValueError, match=message):
        TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), **options)


def test_a_temperature_without_bound_sets_its_tree_aside(engine, problems, letters):
    strategy = HighTemperature(temperature=float("inf"), max_tokens_per_path=4)
    growth = grow_forest(problems([(5, 6)]), strategies=[strategy], engine=engine, tokenizer=letters)
    assert growth.rejected["reason"].to_list() == ["temperature: expected a number of 0 or more, got inf"]


@pytest.mark.parametrize("strategy", [EduSampling(), HighTemperature(), Greedy()])
def test_logits_that_are_no_numbers_are_one_clear_error(engine, problems, letters, strategy):
    message = r"NaN logits .*dtype float32"
    with torch.no_grad():
        engine.model.lm_head.weight[17] = torch.nan
    with pytest.raises(ValueError, match=message):
        grow_forest(problems([(5, 6), (9, 9)]), strategies=[strategy], engine=engine, tokenizer=letters)
    with pytest.raises(ValueError, match=message):
        score_tokens(engine.model, prefix_ids=[5], token_ids=[6, 7])


def test_a_failing_engine_raises_its_own_error_once(engine, problems, letters, monkeypatch):
    def fail(rows: list[list[int]]) -> torch.Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine._slots, "step", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        grow_forest(
            problems([(5, 6), (9, 9), (7, 7)]), strategies=[Greedy()], engine=engine, tokenizer=letters
        )
    # Failing while prefixes are computed must reach the caller too, who waited for ever once.
    monkeypatch.undo()
    monkeypatch.setattr(engine._slots, "compute", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        grow_forest(
            problems([(5, 6), (9, 9), (7, 7)]), strategies=[Greedy()], engine=engine, tokenizer=letters
        )
    monkeypatch.undo()
    assert grow_forest(
        problems([(5, 6)]), strategies=[Greedy()], engine=engine, tokenizer=letters
    ).forest.height
