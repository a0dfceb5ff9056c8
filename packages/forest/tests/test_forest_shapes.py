"""Shapes, paths and counts against brute force on random trees, and how long 5 million nodes may take."""

import time

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eduprm.forest import (
    LEAF_SCHEMA,
    NODE_SCHEMA,
    ForestError,
    leaf_paths,
    path_of,
    token_counts,
    topology,
    validate_forest,
)

# a busy machine must not fail a property that holds
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def preorder_trees(draw: st.DrawFn, max_nodes: int = 25) -> list[int | None]:
    """Parents of a tree in preorder: each node hangs under the one before it or under an ancestor of that."""
    parents: list[int | None] = [None]
    open_nodes = [0]
    for node in range(1, draw(st.integers(1, max_nodes))):
        keep = draw(st.integers(1, len(open_nodes)))
        del open_nodes[keep:]
        parents.append(open_nodes[-1])
        open_nodes.append(node)
    return parents


@st.composite
def any_trees(draw: st.DrawFn, max_nodes: int = 7) -> list[int | None]:
    """Parents of a tree whose parents stand before their children, in preorder or not."""
    return [None, *(draw(st.integers(0, node - 1)) for node in range(1, draw(st.integers(1, max_nodes))))]


forests = st.lists(preorder_trees(), min_size=1, max_size=4)


def path_by_hand(parents: list[int | None], node: int | None) -> list[int]:
    return [] if node is None else [*path_by_hand(parents, parents[node]), node]


@relaxed
@given(forests)
def test_topology_is_what_walking_the_trees_finds(grow, trees: list[list[int | None]]) -> None:
    df = validate_forest(grow(trees))
    shape = topology(df)
    row = 0
    for number, parents in enumerate(trees):
        paths = [path_by_hand(parents, node) for node in range(len(parents))]
        assert shape.starts[number] == row
        for node, path in enumerate(paths):
            below = [other for other, its in enumerate(paths) if node in its]
            assert shape.depth[row + node] == len(path) - 1
            assert shape.size[row + node] == len(below)
            assert below == list(range(node, node + len(below)))
            assert shape.end[row + node] == row + node + len(below)
            assert shape.parent[row + node] == (-1 if parents[node] is None else row + parents[node])
            assert shape.is_leaf[row + node] == (node not in parents)
            assert shape.leaves[row + node] == sum(other not in parents for other in below)
            assert shape.tree[row + node] == number
            assert shape.ancestor_sum(np.arange(df.height))[row + node] == sum(
                row + other for other in path[:-1]
            )
            assert path_of(df[row : row + len(parents)], node) == path
        row += len(parents)
    assert shape.num_nodes == row
    assert shape.num_trees == len(trees)


@relaxed
@given(any_trees())
@example([None, 0, 0, 1])
@example([None, 0, 1, 0, 1])
def test_exactly_the_trees_in_preorder_are_accepted(grow, parents: list[int | None]) -> None:
    # the first node that hangs neither under the node before it nor under an ancestor of that
    torn = [n for n in range(1, len(parents)) if parents[n] not in path_by_hand(parents, n - 1)]
    frame = grow([[None, 0], parents])  # behind another tree, so rows and node ids differ
    if not torn:
        assert topology(frame).num_nodes == len(parents) + 2
        return
    with pytest.raises(ForestError, match="expected preorder, so one of") as caught:
        topology(frame)
    assert caught.value.column == "parent_id"
    assert caught.value.place is not None
    assert caught.value.place.row == torn[0] + 2


@relaxed
@given(forests, st.data())
def test_leaf_paths_concatenate_the_nodes(grow, trees: list[list[int | None]], data: st.DataObject) -> None:
    tokens = [
        [
            data.draw(st.lists(st.integers(0, 3), min_size=bool(node), max_size=4))
            for node in range(len(parents))
        ]
        for parents in trees
    ]
    df = grow(trees, tokens)
    found = leaf_paths(df)
    assert found.schema == LEAF_SCHEMA
    assert found["num_tokens"].to_list() == found["token_ids"].list.len().to_list()
    assert found["logprobs"].list.len().to_list() == found["num_tokens"].to_list()
    np.testing.assert_allclose(found["logprob_sum"], -0.5 * found["num_tokens"].to_numpy())
    wanted = [
        (number, node, path, [token for step in path for token in tokens[number][step]])
        for number, parents in enumerate(trees)
        for node in range(len(parents))
        if node not in parents
        for path in [path_by_hand(parents, node)]
    ]
    assert found["leaf"].to_list() == [node for _, node, _, _ in wanted]
    assert found["path"].to_list() == [path for _, _, path, _ in wanted]
    assert found["token_ids"].to_list() == [ids for _, _, _, ids in wanted]
    assert found["text"].to_list() == ["".join(f"<{step}>" for step in path) for _, _, path, _ in wanted]
    assert found["problem_id"].to_list() == [f"p{number // 2}" for number, _, _, _ in wanted]


@relaxed
@given(forests, st.data())
def test_token_counts_are_what_counting_by_hand_finds(
    grow, trees: list[list[int | None]], data: st.DataObject
) -> None:
    tokens = [
        [
            data.draw(st.lists(st.integers(0, 2), min_size=bool(node), max_size=3))
            for node in range(len(parents))
        ]
        for parents in trees
    ]
    counts = token_counts(grow(trees, tokens))
    for number, parents in enumerate(trees):
        leaves = [node for node in range(len(parents)) if node not in parents]
        paths = [[t for step in path_by_hand(parents, leaf) for t in tokens[number][step]] for leaf in leaves]
        trie = {tuple(path[: stop + 1]) for path in paths for stop in range(len(path))}
        wanted = (len(leaves), len(parents), sum(map(len, tokens[number])), sum(map(len, paths)), len(trie))
        assert counts.row(number)[2:] == wanted


def test_counts_of_the_two_ways_of_sampling(nodes: pl.DataFrame) -> None:
    named = token_counts(nodes).rows(named=True)
    assert named[0]["unique_tokens"] == named[0]["distinct_tokens"] == 5  # an EDU tree shares by construction
    assert (named[1]["unique_tokens"], named[1]["distinct_tokens"]) == (
        5,
        3,
    )  # the second sample begins the first


def test_nothing_is_a_forest_too() -> None:
    empty = NODE_SCHEMA.to_frame()
    assert topology(empty).num_trees == 0
    assert leaf_paths(empty).schema == LEAF_SCHEMA
    assert token_counts(empty).height == 0


def test_path_of_wants_one_tree_and_one_of_its_nodes(nodes: pl.DataFrame) -> None:
    with pytest.raises(ForestError, match="the rows of one tree, got those of 2"):
        path_of(nodes, 0)
    with pytest.raises(ValueError, match="a node id from 0 to 2, got 3"):
        path_of(nodes[:3], 3)
    with pytest.raises(ValueError, match="got -1"):
        path_of(nodes[:3], -1)
    assert list(map(type, path_of(nodes[:3], np.int64(2)))) == [int, int]  # JSON takes no numpy integer


def test_a_chain_and_a_million_nodes_are_fast(grow) -> None:
    # pointer doubling: a chain of 200,000 nodes would be slow, or too deep, for a walk node by node
    num_nodes = 200_000
    chain = pl.DataFrame({"node_id": np.arange(num_nodes, dtype=np.int32)}).with_columns(
        problem_id=pl.lit("p"),
        tree=pl.lit("t"),
        parent_id=pl.when(pl.col("node_id") > 0).then(pl.col("node_id") - 1),
    )
    assert topology(chain).depth[-1] == num_nodes - 1
    one = grow([[None, 0, 1, 1, 0, 4, 4, 6]])
    many = pl.concat([one] * 125_000).with_columns(
        problem_id=pl.int_range(pl.len()).floordiv(8).cast(pl.String) + "-a-long-problem-id"
    )
    began = time.perf_counter()
    validate_forest(many)
    assert (
        time.perf_counter() - began < 5.0
    )  # about 0.15 s on two idle cores; the margin is for a busy machine


def test_a_late_fault_and_one_long_path_are_found_fast(grow) -> None:
    half = 50_000
    parents = [
        None,
        *range(half - 1),
        0,
        *range(half, 2 * half - 2),
        5,
    ]  # two chains; the last node is torn off
    torn = pl.DataFrame({"node_id": np.arange(2 * half), "parent_id": parents}).with_columns(
        problem_id=pl.lit("p"), tree=pl.lit("t")
    )
    began = time.perf_counter()
    with pytest.raises(ForestError, match=rf"row {2 * half} .*one of \[0, {half}, .*got 5"):
        topology(torn)
    one = grow([[None, 0, 0]], [[[], [1, 2], [1, 3]]])
    many = pl.concat([one] * 50_000).with_columns(
        problem_id=pl.int_range(pl.len()).floordiv(3).cast(pl.String)
    )
    long = grow([[None, 0, 0]], [[[], [1] * 3000, [1, 2]]])
    counts = token_counts(pl.concat([many, long.with_columns(problem_id=pl.lit("long"))]))
    assert counts["distinct_tokens"].to_list() == [3] * 50_000 + [3001]
    assert time.perf_counter() - began < 4.0  # about 0.5 s on two idle cores
