"""The columns order and greedy: what searches write is what the replay of their rule and the answers of engines say."""

from __future__ import annotations

import copy

import polars as pl
import pytest

from eduprm.forest import FOUND_COLUMNS, NODE_SCHEMA, found_leaves, leaf_paths, validate_forest
from eduprm.search import (
    Budget,
    EduSampling,
    Greedy,
    HighTemperature,
    PrunedEdu,
    TransformersEngine,
    grow_forest,
    replayed,
)
from eduprm.search.steps import cut_at_steps
from eduprm.search.strategies.mcts_edu import MctsEdu

PROMPTS = [(5, 6, 7), (9, 9), tuple(range(10, 40)), (33, 20, 41, 8)]
BUDGET = Budget(max_leaves=7, max_tokens_per_path=16)
STRATEGIES = {
    "best-first": EduSampling(threshold=0.8, budget=BUDGET),
    "chronological": EduSampling(threshold=0.8, order="chronological", budget=BUDGET),
    "rounds": EduSampling(threshold=0.8, budget=BUDGET, parallel_forks=3),
    "rounds with a token budget": EduSampling(
        threshold=0.8, budget=BUDGET.model_copy(update={"max_total_tokens": 50}), parallel_forks=3
    ),
    "greedy": Greedy(threshold=0.8, max_tokens_per_path=16),
    "samples": HighTemperature(threshold=0.8, temperature=1.5, num_samples=6, max_tokens_per_path=16),
}


@pytest.fixture(scope="module")
def engine(tiny_model) -> TransformersEngine:
    return TransformersEngine(copy.deepcopy(tiny_model), stop_ids=frozenset({3}), max_rows=3)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_columns_are_what_the_rule_says_of_the_finished_trees(engine, problems, letters, name):
    strategy = STRATEGIES[name]
    forest = grow_forest(problems(PROMPTS), strategies=[strategy], engine=engine, tokenizer=letters).forest
    assert list(validate_forest(forest).columns) == [*NODE_SCHEMA, *FOUND_COLUMNS]
    rule = {"greedy": EduSampling(), "samples": None}.get(name, strategy)
    assert replayed(forest.drop(FOUND_COLUMNS), rule).equals(forest)
    assert found_leaves(forest).height > len(PROMPTS) or name == "greedy"


def test_the_greedy_leaf_is_the_greedy_path_and_samples_have_none(engine, problems, plain, letters):
    async def rejects(problem_id, prefixes):
        return [0.1] * len(prefixes)

    pruned = PrunedEdu(**dict(STRATEGIES["rounds"]), scorer=rejects)
    planned = MctsEdu(threshold=0.8, budget=BUDGET, scorer=rejects)
    strategies = [STRATEGIES["best-first"], STRATEGIES["greedy"], pruned, planned]
    forest = grow_forest(
        problems(PROMPTS),
        strategies=[*strategies, STRATEGIES["samples"]],
        engine=engine,
        tokenizer=letters,
    ).forest
    validate_forest(forest)
    leaves = leaf_paths(forest).join(found_leaves(forest), on=["problem_id", "tree", "leaf"])
    greedy = leaves.filter("greedy")
    assert sorted(set(greedy["tree"])) == ["edu", "edu-pruned", "greedy", "mcts-edu"]
    for number, prompt in enumerate(PROMPTS):
        own = greedy.filter(problem_id=f"p{number}")
        expected = [row[0] for row in plain.greedy(prompt, 16)]
        assert own["token_ids"].to_list() == [expected] * 4
        assert own["order"].to_list() == [0] * 4


def test_cutting_at_other_steps_keeps_the_columns_on_the_leaves(engine, problems, letters):
    forest = grow_forest(
        problems(PROMPTS), strategies=[STRATEGIES["rounds"]], engine=engine, tokenizer=letters
    ).forest
    steps, _ = cut_at_steps(forest, {"entropy": {"threshold": 0.8}, "lines": {}}, tokenizer=letters)
    validate_forest(steps)
    assert (
        found_leaves(steps).select("order", "greedy").equals(found_leaves(forest).select("order", "greedy"))
    )


def test_a_replay_refuses_samples_taken_for_forks(engine, problems, letters):
    forest = grow_forest(
        problems(PROMPTS), strategies=[STRATEGIES["samples"]], engine=engine, tokenizer=letters
    ).forest
    with pytest.raises(ValueError, match="at most two children"):
        replayed(forest, EduSampling())


def row(node: int, parent: int | None, entropies: list[float], finish: str | None, first: int = 5) -> tuple:
    ids = [first + index for index in range(len(entropies))]
    return ("p", "edu", node, parent, ids, [-0.1] * len(ids), entropies, "", finish)


def test_order_follows_the_policy():
    # Two forks on the greedy path: a weak one at position 1, a strong one at position 3.
    rows = [
        row(0, None, [0.1], None),
        row(1, 0, [0.6, 0.1], None),
        row(2, 1, [0.9, 0.0], "stop"),
        row(3, 1, [0.9], "stop", first=40),
        row(4, 0, [0.6, 0.2], "stop", first=40),
    ]
    forest = pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row")

    def found(order: str) -> list[int]:
        return found_leaves(replayed(forest, EduSampling(order=order))).sort("order")["leaf"].to_list()

    assert found("best_first") == [2, 3, 4]
    assert found("chronological") == [2, 4, 3]
