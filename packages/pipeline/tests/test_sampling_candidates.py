"""Solutions, tokens and lines of the experiment's trees, against trees that were really grown with that budget."""

from __future__ import annotations

import polars as pl
import pytest

from eduprm.forest import NODE_SCHEMA, leaf_paths
from eduprm.pipeline.sampling.candidates import TOKEN_SCHEMA, distinct_tokens, found_leaves, setting_tokens
from eduprm.pipeline.sampling.gold import line_items
from eduprm.pipeline.sampling.grow import Setting, Trees
from eduprm.search import Budget, CutRule, EduSampling, HighTemperature, grow_forest
from eduprm.search.sglang.testing import Letters
from eduprm.search.steps import CutAt, mark_steps

PROMPTS = [[1, 2, 3], [4, 5], [6]]
PATH = 7


@pytest.fixture(scope="module")
def policy(letter_engine):
    return letter_engine(initializer_range=0.6)


def edu(threshold, order, leaves):
    budget = Budget(max_leaves=leaves, max_tokens_per_path=PATH)
    return CutAt(EduSampling(threshold=threshold, order=order, budget=budget), CutRule(threshold=0.2))


def samples(number):
    return HighTemperature(
        threshold=0.2, temperature=1.0, num_samples=number, max_tokens_per_path=PATH, seed=1
    )


def grown(policy, strategy, name="grown") -> Trees:
    problems = pl.DataFrame(
        {"problem_id": [f"p{number}" for number in range(len(PROMPTS))], "prompt_token_ids": PROMPTS},
        schema_overrides={"prompt_token_ids": pl.List(pl.Int32)},
    )
    growth = grow_forest(problems, strategies=[strategy], engine=policy, tokenizer=Letters())
    steps = mark_steps(growth.forest, tokenizer=Letters(), threshold=0.2, low_logprob=-3.0)
    costs = growth.costs.with_columns(seconds=pl.lit(0.5))
    return Trees(name, "key", {"forest": growth.forest, "costs": costs, "steps": steps})


def solutions(trees: Trees, found: pl.DataFrame, problem: str) -> list[list[int]]:
    """Token paths of a problem's leaves, in the order in which they were found."""
    paths = dict(
        leaf_paths(trees.tables["steps"]).filter(problem_id=problem).select("leaf", "token_ids").rows()
    )
    return [paths[leaf] for leaf in found.filter(problem_id=problem).sort("order")["leaf"]]


def named(family, order, threshold, grown_as):
    return Setting("one", family, order, threshold, None, grown_as)


@pytest.mark.parametrize("threshold", [0.3, 1.0, 2.0, 2.6])
def test_a_best_first_tree_begins_with_the_tree_of_any_higher_threshold(policy, threshold):
    low = grown(policy, edu(0.3, "best_first", 8))
    high = grown(policy, edu(threshold, "best_first", 8))
    found = found_leaves(named("EDU", "best_first", threshold, "edu-best_first-0.3"), low)
    really = found_leaves(named("EDU", "best_first", threshold, f"edu-best_first-{threshold:g}"), high)
    for number in range(len(PROMPTS)):
        own = solutions(low, found, f"p{number}")
        assert own == solutions(high, really, f"p{number}")
        assert sorted(own) == sorted(
            leaf_paths(high.tables["steps"]).filter(problem_id=f"p{number}")["token_ids"].to_list()
        )
    assert found["place"].to_list() == found["order"].to_list()


def test_higher_thresholds_leave_leaves_out(policy):
    low = grown(policy, edu(0.3, "best_first", 8))
    heights = [
        found_leaves(named("EDU", "best_first", threshold, "edu-best_first-0.3"), low).height
        for threshold in (0.3, 2.0, 2.6, 4.0)
    ]
    assert heights[0] > heights[2] >= len(PROMPTS)
    assert heights[-1] == len(PROMPTS)


def test_the_greedy_setting_is_the_first_leaf_of_an_edu_tree(policy):
    trees = grown(policy, edu(0.3, "best_first", 8))
    found = found_leaves(named("greedy", "best_first", 0.3, "edu-best_first-0.3"), trees)
    alone = grown(policy, edu(0.3, "best_first", 1))
    assert found.height == len(PROMPTS)
    for number in range(len(PROMPTS)):
        (path,) = leaf_paths(alone.tables["steps"]).filter(problem_id=f"p{number}")["token_ids"].to_list()
        assert solutions(trees, found, f"p{number}") == [path]


def stopped(trees: Trees, setting: Setting, problem: str, orders: set[int]) -> Trees:
    """The same trees, leaves at these places in the order of finding marked as stopped by the PRM."""
    found = found_leaves(setting, trees).filter(pl.col("order").is_in(orders), problem_id=problem)
    hit = (pl.col("problem_id") == problem) & pl.col("node_id").is_in(found["leaf"].to_list())
    marked = trees.tables["steps"].with_columns(
        finish=pl.when(hit).then(pl.lit("pruned")).otherwise("finish")
    )
    return Trees(trees.name, trees.key, {**trees.tables, "steps": marked})


def test_stopped_branches_have_no_place_and_their_tokens_count(policy):
    setting = named("P-EDU", "best_first", 0.3, "pruned-best_first-0.3")
    whole = grown(policy, edu(0.3, "best_first", 6))
    trees = stopped(whole, setting, "p0", {1, 3})
    found = found_leaves(setting, trees).filter(problem_id="p0")
    most = found.height
    assert most > 4
    assert found["order"].to_list() == list(range(most))
    assert found["place"].to_list() == [0, None, 1, None, *range(2, most - 2)]
    # With 2 solutions the branch stopped between them was decoded too: what 3 leaves of the whole tree cost.
    own = setting_tokens(setting, trees, seed=None, ns=[1, 2, 50]).filter(problem_id="p0")
    cost = setting_tokens(setting, whole, seed=None, ns=[1, 3, 50]).filter(problem_id="p0")
    assert own["decoded"].to_list() == cost["decoded"].to_list()
    assert own["leaves"].to_list() == [1, 2, most - 2]
    # The wall-clock of what was grown belongs to all of its solutions, not to the first few.
    assert own["seconds"].to_list() == [None, None, 0.5]


@pytest.mark.parametrize("order", ["best_first", "chronological"])
def test_tokens_of_n_solutions_are_those_of_a_tree_of_n_leaves(policy, order):
    trees = grown(policy, edu(1.0, order, 5))
    found = setting_tokens(named("EDU", order, 1.0, f"edu-{order}-1"), trees, seed=None, ns=[1, 2, 3, 5])
    assert found.schema == pl.Schema(TOKEN_SCHEMA)
    for n in (1, 2, 3, 5):
        alone = grown(policy, edu(1.0, order, n))
        for problem, leaves, decoded, distinct, path in (
            found.filter(n=n).select("problem_id", "leaves", "decoded", "distinct", "path").rows()
        ):
            paths = leaf_paths(alone.tables["forest"]).filter(problem_id=problem)["token_ids"].to_list()
            cost = alone.tables["costs"].filter(problem_id=problem)["unique_tokens"].item()
            prefixes = {tuple(path[:end]) for path in paths for end in range(1, len(path) + 1)}
            assert leaves == len(paths)
            assert decoded == cost
            assert distinct == len(prefixes)
            assert path == sum(map(len, paths))


def test_distinct_tokens_of_samples_are_what_no_earlier_one_begins_with(policy):
    trees = grown(policy, samples(6), "samples-1-draw0-0000")
    setting = Setting("samples T=1", "samples", None, None, 1.0, "samples-1")
    found = distinct_tokens(setting, trees, seed=4)
    for number in range(len(PROMPTS)):
        paths = leaf_paths(trees.tables["forest"]).filter(problem_id=f"p{number}")["token_ids"].to_list()
        seen: set[tuple[int, ...]] = set()
        expected = []
        for path in paths:
            new = {tuple(path[:end]) for end in range(1, len(path) + 1)} - seen
            expected.append(len(new))
            seen |= new
        own = found.filter(problem_id=f"p{number}").sort("order")
        assert own["num_tokens"].to_list() == expected
        assert own["seed"].unique().to_list() == [4]


def steps_of(texts: list[tuple[str, str, list[str], str]]) -> pl.DataFrame:
    """Marked chains: problem, tree, pieces that are a token each, finish; scores count up from 0.01."""
    table = sorted({token for _, _, pieces, _ in texts for token in pieces})

    class Table:
        def decode(self, token_ids):
            return "".join(table[token] for token in token_ids)

    rows = []
    for problem, tree, pieces, finish in texts:
        zeros = [0.0] * len(pieces)
        ids = [table.index(token) for token in pieces]
        rows.append((problem, tree, 0, None, ids, zeros, zeros, "".join(pieces), finish))
    forest = pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row")
    marked = mark_steps(forest, tokenizer=Table(), threshold=1.0, low_logprob=-5.0)
    return marked.with_columns(score_line=(pl.int_range(pl.len()) + 1) / 100)


def test_lines_are_scored_solution_by_solution_and_what_cannot_be_is_left_out():
    good = ["1+1=2", "\n", "2+2=4", "\n", "so 4"]
    steps = steps_of(
        [
            ("p", "a", good, "stop"),
            ("p", "b", good, "stop"),  # the same text again
            ("p", "c", ["2+2=4", "\n", "4+1=6", "\n", "6+1=8"], "stop"),
            ("p", "d", ["2+2=4\n3", "+1=4"], "stop"),  # a token on both sides of the break
            ("p", "d2", ["1+1=2", "\n3", "+1=4"], "stop"),  # likewise
            ("p", "e", ["1+1=3"], "length"),  # never finished
            ("p", "f", ["1+1=5"], "stop"),
            ("q", "a", ["no equation here"], "stop"),
        ]
    )
    found = line_items(steps, most=2)
    assert found.select("id", "steps", "label", "scores").rows() == [
        ("p/a/2", ["1+1=2", "2+2=4", "so 4"], -1, [0.01, 0.02, 0.03]),
        ("p/c/2", ["2+2=4", "4+1=6", "6+1=8"], 1, [0.07, 0.08, 0.09]),
        ("q/a/0", ["no equation here"], -1, [steps.filter(problem_id="q")["score_line"].item()]),
    ]
    assert line_items(steps, most=3).filter(problem="p")["id"].to_list() == ["p/a/2", "p/c/2", "p/f/0"]
    # A problem is on one side whatever its solutions, and with many problems both sides have some.
    many = line_items(steps_of([(f"p{n}", t, [t], "stop") for n in range(40) for t in "ab"]), most=8)
    assert many.group_by("problem").agg(pl.col("part").n_unique())["part"].to_list() == [1] * 40
    assert set(many["part"]) == {"choose", "judge"}
