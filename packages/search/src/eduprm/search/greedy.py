"""The greedy path of each tree, with the entropies and the symbols on it: what a threshold is calibrated on.

Which threshold gives it how many anchors, says
`eduprm.entropy.calibrate_threshold`, which knows neither trees nor texts.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from eduprm.forest import found_leaves, leaf_paths
from eduprm.search.contract import Tokenizer
from eduprm.segment import is_symbol, judged_texts


class GreedyEntropies(NamedTuple):
    """Per tree: the entropies (nats) along its greedy path, and where a bare symbol can be no anchor."""

    entropies: list[list[float]]
    skip: list[list[bool]]


def greedy_entropies(forest: pl.DataFrame, *, tokenizer: Tokenizer) -> GreedyEntropies:
    """Entropies and symbols of the greedy leaf of every tree of a forest (NODE_SCHEMA and FOUND_COLUMNS) that has one.

    Examples:
        >>> class Letters:
        ...     def decode(self, token_ids):
        ...         return "".join(chr(token) for token in token_ids)
        >>> from eduprm.forest import FOUND_COLUMNS, NODE_SCHEMA
        >>> row = ("p", "edu", 0, None, list(b"a."), [-0.1, -0.2], [0.5, 0.75], "a.", "length", 0, True)
        >>> forest = pl.DataFrame([row], schema={**NODE_SCHEMA, **FOUND_COLUMNS}, orient="row")
        >>> found = greedy_entropies(forest, tokenizer=Letters())
        >>> found.entropies, found.skip
        ([[0.5, 0.75]], [[False, True]])
    """
    greedy = found_leaves(forest).filter("greedy")
    paths = leaf_paths(forest).join(
        greedy, on=["problem_id", "tree", "leaf"], how="semi", maintain_order="left"
    )
    skip = []
    for ids, finish in paths.select("token_ids", "finish").iter_rows():
        stop_ids = ids[-1:] if finish == "stop" else []
        skip.append([is_symbol(text) for text in judged_texts(ids, tokenizer.decode, stop_ids=stop_ids)])
    return GreedyEntropies(paths["entropies"].to_list(), skip)
