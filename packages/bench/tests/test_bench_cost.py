"""Token counts against brute force on random trees, and budgets against a plain loop."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.bench import equal_tokens, summarise_cost, token_cost
from eduprm.rank import CANDIDATE_SCHEMA

Node = tuple[int | None, list[int]]


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    """Parents and tokens in preorder: a node hangs under the node before it or one of its ancestors."""
    nodes: list[Node] = [(None, draw(st.lists(st.integers(0, 2), max_size=3)))]
    for node in range(1, draw(st.integers(1, 12))):
        ancestors = [node - 1]
        while (above := nodes[ancestors[-1]][0]) is not None:
            ancestors.append(above)
        parent = draw(st.sampled_from(ancestors))
        nodes.append((parent, draw(st.lists(st.integers(0, 2), min_size=1, max_size=3))))
    return nodes


def forest(nodes: list[Node], tree: str = "edu") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "problem_id": ["p"] * len(nodes),
            "tree": [tree] * len(nodes),
            "node_id": list(range(len(nodes))),
            "parent_id": [parent for parent, _ in nodes],
            "token_ids": [tokens for _, tokens in nodes],
        },
        schema_overrides={"parent_id": pl.Int32, "token_ids": pl.List(pl.Int32)},
    )


def path(nodes: list[Node], leaf: int) -> list[int]:
    above = nodes[leaf][0]
    return [leaf] if above is None else [*path(nodes, above), leaf]


@settings(max_examples=150, deadline=None)
@given(nodes=trees(), data=st.data())
def test_costs_of_the_first_leaves_match_brute_force(nodes: list[Node], data: st.DataObject) -> None:
    leaves = [k for k in range(len(nodes)) if k not in {parent for parent, _ in nodes}]
    found = data.draw(st.permutations(leaves))
    rows = [("p", "edu", leaf, rank) for rank, leaf in enumerate(found)]
    order = pl.DataFrame(rows, schema=["problem_id", "tree", "leaf", "order"], orient="row")
    ns = [1, 2, 3, 50]
    for row in token_cost(forest(nodes), ns=ns, order=order).iter_rows(named=True):
        first = found[: row["n"]]
        paths = [path(nodes, leaf) for leaf in first]
        texts = [tuple(t for node in p for t in nodes[node][1]) for p in paths]
        assert row["leaves"] == len(first)
        assert row["decoded"] == sum(len(nodes[node][1]) for node in {n for p in paths for n in p})
        assert row["path"] == sum(map(len, texts))
        assert row["distinct"] == len({text[:k] for text in texts for k in range(1, len(text) + 1)})


def test_samples_cost_what_was_decoded_though_a_trie_would_share() -> None:
    nodes: list[Node] = [(None, []), (0, [1, 2, 3]), (0, [1, 2, 4]), (0, [1, 2, 3])]
    got = token_cost(forest(nodes, "ht"), ns=[1, 2, 3]).select("decoded", "path", "distinct").rows()
    assert got == [(3, 3, 3), (6, 6, 4), (9, 9, 4)]
    assert token_cost(forest(nodes, "ht"))["n"].to_list() == [3]


def test_missing_pieces_are_named() -> None:
    frame = forest([(None, [1]), (0, [2])])
    order = pl.DataFrame({"problem_id": ["p"], "tree": ["edu"], "leaf": [7], "order": [0]})
    with pytest.raises(ValueError, match="no order for leaf 1 of tree 'p'/'edu'"):
        token_cost(frame, order=order)
    with pytest.raises(ValueError, match="column 'token_ids' is missing"):
        token_cost(frame.drop("token_ids"))
    with pytest.raises(ValueError, match="every n must be at least 1, got 0"):
        token_cost(frame, ns=[1, 0])


def test_a_summary_is_a_mean_over_problems() -> None:
    two = pl.concat(
        [forest([(None, [1] * 4)]), forest([(None, [1] * 8)]).with_columns(problem_id=pl.lit("q"))]
    )
    row = summarise_cost(token_cost(two), seed=0).row(0, named=True)
    assert (row["tree"], row["problems"]) == ("edu", 2)
    cost = token_cost(two, ns=[1])
    row = summarise_cost(cost, seed=0).row(0, named=True)
    assert (row["decoded"], row["decoded_low"], row["decoded_high"]) == (6.0, 4.0, 8.0)


def candidates(tree: str, tokens: list[int], problem: str = "p") -> pl.DataFrame:
    rows = [(problem, tree, k + 1, "1", True, -1.0, num, None) for k, num in enumerate(tokens)]
    return pl.DataFrame(rows, schema=CANDIDATE_SCHEMA, orient="row")


def draw(tokens: list[int], budget: int, greedy: int | None, crossing: str) -> tuple[list[int], int]:
    spent, taken = greedy or 0, []
    for num in tokens:
        first = greedy is None and not taken
        if spent + num > budget and not first and not (crossing == "keep" and spent < budget):
            break
        taken.append(num)
        spent += num
    return taken, spent


@settings(max_examples=150, deadline=None)
@given(
    tokens=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    budget=st.integers(0, 40),
    greedy=st.none() | st.integers(1, 9),
    crossing=st.sampled_from(["drop", "keep"]),
)
def test_a_budget_buys_what_a_loop_would_buy(tokens: Any, budget: int, greedy: Any, crossing: Any) -> None:
    limits = pl.DataFrame({"problem_id": ["p"], "decoded": [budget]})
    first = None if greedy is None else candidates("greedy", [greedy])
    kept, spent = equal_tokens(candidates("ht", tokens), limits, greedy=first, crossing=crossing)
    taken, cost = draw(tokens, budget, greedy, crossing)
    assert kept.filter(pl.col("tree") == "ht").sort("order")["num_tokens"].to_list() == taken
    assert spent.select("spent", "samples").row(0) == (cost, len(taken))
    assert spent["exhausted"].item() == (len(taken) == len(tokens) and cost < budget)
    assert spent["over"].item() == ((tokens[0] if greedy is None else greedy) > budget)
    if greedy is not None:
        assert kept.sort("order")["tree"][0] == "greedy"


def test_a_crossing_sample_is_not_replaced_by_a_shorter_one() -> None:
    limits = pl.DataFrame({"problem_id": ["p"], "decoded": [10]})
    kept, _ = equal_tokens(candidates("ht", [4, 9, 1]), limits)
    assert kept["num_tokens"].to_list() == [4]


def test_budgets_must_cover_every_problem() -> None:
    limits = pl.DataFrame({"problem_id": ["q"], "decoded": [10]})
    with pytest.raises(ValueError, match="budget: none for problem_id='p'"):
        equal_tokens(candidates("ht", [4]), limits)
    with pytest.raises(ValueError, match="greedy: none for problem_id='p'"):
        equal_tokens(candidates("ht", [4]), limits, greedy=candidates("greedy", [4], "q"))
