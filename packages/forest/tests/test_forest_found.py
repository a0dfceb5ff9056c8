"""The columns order and greedy: what is refused, what is read, what the view shows."""

from __future__ import annotations

import io
import re

import polars as pl
import pytest
from rich.console import Console

from eduprm.forest import FOUND_COLUMNS, ForestError, found_leaves, print_tree, validate_forest, write_shard


def with_found(nodes: pl.DataFrame, order: list[int | None], greedy: list[bool | None]) -> pl.DataFrame:
    columns = {"order": pl.Series(order, dtype=pl.Int32), "greedy": pl.Series(greedy, dtype=pl.Boolean)}
    return nodes.with_columns(**columns)


@pytest.fixture
def found(nodes: pl.DataFrame) -> pl.DataFrame:
    return with_found(nodes, [None, 1, 0, None, 0, 1], [None, True, False, None, False, False])


def test_a_forest_with_both_columns_is_one_and_keeps_them_on_disk(found, tmp_path):
    assert validate_forest(found).equals(found)
    assert pl.read_parquet(write_shard(found, tmp_path, "0")).equals(found)
    assert found_leaves(found).rows() == [
        ("p", "edu", 1, 1, True),
        ("p", "edu", 2, 0, False),
        ("p", "ht", 1, 0, False),
        ("p", "ht", 2, 1, False),
    ]


@pytest.mark.parametrize(
    ("order", "greedy", "message"),
    [
        ([None, None, 0, None, 0, 1], None, "column 'order', row 2 .* expected a value on a leaf, got None"),
        ([0, 1, 0, None, 0, 1], None, "column 'order', row 1 .* expected null on an inner node, got 0"),
        ([None, 1, 1, None, 0, 1], None, "column 'order', row 2 .* numbered 0, 1, 2, ..., each once, got 1"),
        ([None, 0, 1, None, 0, 2], None, "column 'order', row 6 .* numbered 0, 1, 2, ..., each once, got 2"),
        ([None, 0, -1, None, 0, 1], None, "column 'order', row 2 .* each once, got 0"),
        (
            None,
            [None, True, None, None, False, False],
            "column 'greedy', row 3 .* expected a value on a leaf",
        ),
        (None, [None, True, True, None, False, False], "column 'greedy', row 3 .* one greedy leaf a tree"),
        (
            None,
            [True, True, False, None, False, False],
            "column 'greedy', row 1 .* expected null on an inner",
        ),
    ],
)
def test_a_broken_column_is_refused_with_its_row(nodes, order, greedy, message):
    order = order or [None, 1, 0, None, 0, 1]
    greedy = greedy or [None, True, False, None, True, False]
    with pytest.raises(ForestError, match=message):
        validate_forest(with_found(nodes, order, greedy))


def test_a_greedy_leaf_in_each_of_two_trees_is_fine(nodes):
    frame = with_found(nodes, [None, 1, 0, None, 0, 1], [None, False, True, None, True, False])
    assert validate_forest(frame).height == 6


def test_one_of_the_columns_alone_or_of_another_type_is_refused(found):
    with pytest.raises(ForestError, match="column 'greedy': expected this column"):
        validate_forest(found.drop("greedy"))
    with pytest.raises(ForestError, match="column 'order': expected type Int32, got Float64"):
        validate_forest(found.cast({"order": pl.Float64}))


@pytest.mark.parametrize("missing", [["order"], ["greedy"], list(FOUND_COLUMNS)])
def test_a_forest_of_before_says_in_a_line_what_it_lacks_and_what_to_do(found, missing):
    with pytest.raises(ForestError) as caught:
        found_leaves(found.drop(missing))
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert re.search(rf"order and greedy.*{' and '.join(missing)} missing.*grow it again", text)
    assert "A table of your own sampler: add both (eduprm.forest.FOUND_COLUMNS)" in text


def test_the_view_says_when_a_leaf_was_found_and_which_is_greedy(found):
    console = Console(width=120, record=True, file=io.StringIO())
    print_tree(found.filter(tree="edu"), console=console)
    lines = console.export_text().splitlines()
    assert [re.findall(r"#\d|greedy", line) for line in lines[-2:]] == [["#1", "greedy"], ["#0"]]
