"""The rules of a forest and of a problems table, checked without a loop over rows."""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from .errors import ForestError, Place, place_of, shown
from .ragged import Ragged
from .schema import (
    BOUND_COLUMNS,
    FINISH_REASONS,
    FOUND_COLUMNS,
    LABEL_COLUMNS,
    LABELLED_SCHEMA,
    NODE_SCHEMA,
    PROBLEM_SCHEMA,
    SPLITS,
    check_columns,
    check_frame,
)
from .topology import Topology, topology

LOGPROB_SLACK_NATS = 1e-4
"""How far above 0 a log-prob may be: half-precision engines round a sure token's to a little above."""

_NODE_NOT_NULL = ("problem_id", "tree", "node_id", "token_ids", "logprobs", "entropies", "text")


def validate_forest(df: pl.DataFrame, *, labelled: bool | None = None) -> pl.DataFrame:
    """Return the frame if it is a forest (an empty one is), else raise.

    Nothing is changed but widths: integers and floats become those of the schema where they fit (polars' own are Int64
    and Float64); Float32 rounds.

    Args:
        df: columns of NODE_SCHEMA, or of LABELLED_SCHEMA; with BOUND_COLUMNS where entropies are bounds and with
            FOUND_COLUMNS where a search grew it; others are left alone.
        labelled: True demands the label columns, False ignores them, None checks them where any is there.

    Errors: ForestError, one line with column, row and reason.

    Examples:
        >>> frame = pl.DataFrame([["p", "edu", 0, None, [5], [-0.5], [0.7], "4", "stop"]], schema=NODE_SCHEMA,
        ...     orient="row")
        >>> validate_forest(frame).height
        1
        >>> try:
        ...     validate_forest(frame.with_columns(finish=pl.lit("eos")))
        ... except ForestError as error:
        ...     print(error)
        column 'finish', row 1 (problem 'p', tree 'edu', node 0): expected one of stop, length, pruned, got 'eos'
    """
    check_frame(df)
    wants_labels = any(name in df.columns for name in LABEL_COLUMNS) if labelled is None else labelled
    schema = LABELLED_SCHEMA if wants_labels else NODE_SCHEMA
    not_null = _NODE_NOT_NULL + (tuple(LABEL_COLUMNS) if wants_labels else ())
    df = check_columns(df, schema, not_null=not_null)
    bounds = tuple(BOUND_COLUMNS) if any(name in df.columns for name in BOUND_COLUMNS) else ()
    if bounds:
        df = check_columns(df, BOUND_COLUMNS, not_null=bounds)
    found = any(name in df.columns for name in FOUND_COLUMNS)
    if found:
        df = check_columns(df, FOUND_COLUMNS, not_null=())
    shape = topology(df)
    _check_finish(df, shape)
    if found:
        _check_found(df, shape)
    _check_lists(df, "logprobs", "entropies", *bounds)
    if bounds:
        _check_bounds(df)
    if wants_labels:
        _check_labels(df, shape)
    return df


def validate_problems(df: pl.DataFrame) -> pl.DataFrame:
    """Return the frame if it is a problems table, else raise a one-line ForestError.

    Nothing is changed but widths of integers, as by `validate_forest`.

    Examples:
        >>> frame = pl.DataFrame([["p", "2 * 3 = ?", "6", None, "gsm8k", "train", None]],
        ...     schema=PROBLEM_SCHEMA, orient="row")
        >>> validate_problems(frame).height
        1
        >>> try:
        ...     validate_problems(pl.concat([frame, frame]))
        ... except ForestError as error:
        ...     print(error)
        column 'problem_id', row 2 (problem 'p'): expected a new id, got one seen above: 'p'
    """
    check_frame(df)
    df = check_columns(df, PROBLEM_SCHEMA, not_null=("problem_id", "question", "source", "split"))
    for name in ("problem_id", "question"):
        blank = df[name].str.strip_chars() == ""
        _refuse_first(df, name, blank, "expected some text, got {}")
    _refuse_first(
        df, "problem_id", ~df["problem_id"].is_first_distinct(), "expected a new id, got one seen above: {}"
    )
    _refuse_first(df, "split", ~df["split"].is_in(SPLITS), f"expected one of {', '.join(SPLITS)}, got {{}}")
    prompts = df["prompt_token_ids"].drop_nulls()
    rows = df["prompt_token_ids"].is_not_null().arg_true().to_numpy()
    _check_token_ids(df, Ragged.from_series(prompts), "prompt_token_ids", rows)
    for row in df["metadata"].is_not_null().arg_true():
        try:
            json.loads(df["metadata"][row])
        except (ValueError, RecursionError):  # nested deeper than Python reads
            why = f"expected JSON or null, got {shown(df['metadata'][row])}"
            raise ForestError(why, column="metadata", place=place_of(df, row)) from None
    return df


def _refuse_first(df: pl.DataFrame, column: str, wrong: pl.Series, why: str) -> None:
    """Raise for the first row marked as wrong, with its value in place of the braces."""
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise ForestError(why.format(shown(df[column][row])), column=column, place=place_of(df, row))


def _check_finish(df: pl.DataFrame, shape: Topology) -> None:
    finish = df["finish"]
    known = ", ".join(FINISH_REASONS)
    _refuse_first(
        df, "finish", ~finish.is_in(FINISH_REASONS).fill_null(True), f"expected one of {known}, got {{}}"
    )
    is_leaf = pl.Series(shape.is_leaf)
    _refuse_first(df, "finish", is_leaf & finish.is_null(), f"expected one of {known} on a leaf, got {{}}")
    _refuse_first(
        df, "finish", ~is_leaf & finish.is_not_null(), "expected null on a node with children, got {}"
    )


def _check_found(df: pl.DataFrame, shape: Topology) -> None:
    is_leaf = pl.Series(shape.is_leaf)
    for name in FOUND_COLUMNS:
        _refuse_first(df, name, is_leaf & df[name].is_null(), "expected a value on a leaf, got {}")
        _refuse_first(df, name, ~is_leaf & df[name].is_not_null(), "expected null on an inner node, got {}")
    leaves = np.flatnonzero(shape.is_leaf)
    tree = shape.tree[leaves]
    order = df["order"][leaves].to_numpy()
    # One after another without gaps: sorted within each tree, they are its places.
    by_tree = np.lexsort((order, tree))
    first = np.searchsorted(tree, np.arange(shape.num_trees))
    wrong = order[by_tree] != np.arange(len(leaves)) - first[tree]
    if wrong.any():
        row = int(leaves[by_tree[wrong]].min())
        why = "expected the leaves of a tree numbered 0, 1, 2, ..., each once, got {}"
        raise ForestError(why.format(df["order"][row]), column="order", place=place_of(df, row))
    greedy = leaves[df["greedy"][leaves].to_numpy()]
    again = np.flatnonzero(np.diff(shape.tree[greedy]) == 0)
    if len(again):
        place = place_of(df, int(greedy[again[0] + 1]))
        raise ForestError(
            "expected one greedy leaf a tree at most, got another", column="greedy", place=place
        )


def _check_lists(df: pl.DataFrame, *names: str) -> None:
    tokens = Ragged.from_series(df["token_ids"])
    if not tokens.lengths.all():
        empty = pl.Series(tokens.lengths == 0) & (df["node_id"] > 0)
        _refuse_first(
            df, "token_ids", empty, "expected at least one token (only a root may have none), got {}"
        )
    _check_token_ids(df, tokens, "token_ids", None)
    for name in names:
        floats = Ragged.from_series(df[name])
        if not np.array_equal(floats.lengths, tokens.lengths):
            row = int(np.flatnonzero(floats.lengths != tokens.lengths)[0])
            why = f"expected {tokens.lengths[row]} values, one per token id, got {floats.lengths[row]}"
            raise ForestError(why, column=name, place=place_of(df, row))
        _check_floats(df, floats, name)


def _check_bounds(df: pl.DataFrame) -> None:
    lower, upper = (Ragged.from_series(df[name]) for name in ("entropies", "entropies_upper"))
    wrong = np.flatnonzero(upper.numbers() < lower.numbers())
    if len(wrong):
        bad = int(wrong[0])
        why = f"expected at least the lower bound in 'entropies', {lower.show(bad)}, got {upper.show(bad)}"
        raise ForestError(why, column="entropies_upper", place=_place_in(df, upper, bad, None))


def _check_token_ids(df: pl.DataFrame, tokens: Ragged, column: str, rows: np.ndarray | None) -> None:
    """Token ids are not null and not negative; ``rows`` gives the frame's row of each list, None for the same."""
    bad = tokens.first_null()
    if bad is None and len(tokens.values) and tokens.numbers().min() < 0:
        bad = int(np.flatnonzero(tokens.numbers() < 0)[0])
    if bad is not None:
        place = _place_in(df, tokens, bad, rows)
        raise ForestError(f"expected ids of 0 or more, got {tokens.show(bad)}", column=column, place=place)


def _check_floats(df: pl.DataFrame, floats: Ragged, column: str) -> None:
    bad = floats.first_null()
    if bad is None and len(floats.values):
        low, high = (-np.inf, LOGPROB_SLACK_NATS) if column == "logprobs" else (0.0, np.inf)
        values = floats.numbers()
        # a sum is finite when nothing in it is NaN or infinite, and is one pass; the rare rest looks closer
        if not np.isfinite(values.sum(dtype=np.float64)) or values.min() < low or values.max() > high:
            wrong = np.flatnonzero(~np.isfinite(values) | (values < low) | (values > high))
            bad = int(wrong[0]) if len(wrong) else None
    if bad is not None:
        rule = "0 or less" if column == "logprobs" else "0 or more"
        why = f"expected finite numbers (nats), {rule}, got {floats.show(bad)}"
        raise ForestError(why, column=column, place=_place_in(df, floats, bad, None))


def _place_in(df: pl.DataFrame, lists: Ragged, position: int, rows: np.ndarray | None) -> Place:
    row = lists.row_of(position)
    return place_of(df, row if rows is None else int(rows[row]))


def _check_labels(df: pl.DataFrame, shape: Topology) -> None:
    below = pl.Series(shape.leaves)
    for name in ("value", "label"):
        wrong = ~df[name].is_between(0.0, 1.0) | df[name].is_nan()
        _refuse_first(df, name, wrong, "expected a share from 0 to 1, got {}")
    for name in ("weight", "scale"):
        if name in df.columns:
            wrong = ((df[name] < 0) | ~df[name].is_finite()).fill_null(True)
            _refuse_first(df, name, wrong, "expected a finite number, 0 or more, got {}")
    wrong = (df["leaves"] < 0) | (df["leaves"] > below)
    _refuse_first(df, "leaves", wrong, "expected 0 to the number of leaves below this node, got {}")
    wrong = ~df["correct"].is_between(0.0, df["leaves"] + 1e-6) | df["correct"].is_nan()
    _refuse_first(df, "correct", wrong, "expected 0 to the number in 'leaves', got {}")
