"""A small labelled forest of two trees, and forests of any shape, for the tests of this folder."""

from collections.abc import Callable, Sequence

import polars as pl
import pytest

from eduprm.forest import LABELLED_SCHEMA, NODE_SCHEMA


@pytest.fixture
def labelled() -> pl.DataFrame:
    """An EDU tree with one fork (left leaf right, right leaf wrong) and an HT tree of two samples."""
    rows = [
        ["p", "edu", 0, None, [5, 6], [-0.1, -0.2], [0.2, 0.4], "2 * 3", None, 2, 1.0, 0.5, 0.5, 2.0],
        ["p", "edu", 1, 0, [7], [-0.3], [1.5], " = 6", "stop", 1, 1.0, 1.0, 1.0, 1.0],
        ["p", "edu", 2, 0, [8, 9], [-1.3, 0.0], [1.5, 0.0], " = 7", "length", 1, 0.0, 0.0, 0.0, 1.0],
        ["p", "ht", 0, None, [], [], [], "", None, 2, 0.0, 0.0, 0.0, 2.0],
        [
            "p",
            "ht",
            1,
            0,
            [5, 6, 8],
            [-0.1, -0.2, -1.3],
            [0.2, 0.4, 1.5],
            "2 * 3 =",
            "length",
            1,
            0.0,
            0.0,
            0.0,
            1.0,
        ],
        ["p", "ht", 2, 0, [5, 6], [-0.1, -0.2], [0.2, 0.4], "2 * 3", "pruned", 1, 0.0, 0.0, 0.0, 1.0],
    ]
    return pl.DataFrame(rows, schema=LABELLED_SCHEMA, orient="row")


@pytest.fixture
def nodes(labelled: pl.DataFrame) -> pl.DataFrame:
    """The same two trees without labels."""
    return labelled.select(NODE_SCHEMA.names())


@pytest.fixture(scope="session")
def grow() -> Callable[..., pl.DataFrame]:
    """A function from parents per tree (and token ids per node) to a forest."""

    def make(
        trees: Sequence[Sequence[int | None]], tokens: Sequence[Sequence[list[int]]] | None = None
    ) -> pl.DataFrame:
        rows = []
        for number, parents in enumerate(trees):
            for node, parent in enumerate(parents):
                ids = tokens[number][node] if tokens is not None else [node]
                finish = None if node in parents else "stop"
                lists = [ids, [-0.5] * len(ids), [0.25] * len(ids)]
                rows.append([f"p{number // 2}", f"t{number % 2}", node, parent, *lists, f"<{node}>", finish])
        return pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row")

    return make
