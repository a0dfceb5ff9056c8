"""Columns of the three tables that pass between packages: nodes, labelled nodes, problems.

The columns are explained in docs/forest.md; the tree is that of EDU-PRM (arXiv 2503.22233).
"""

from __future__ import annotations

import polars as pl
from polars.datatypes import DataType, DataTypeClass

from eduprm.core.widths import MisfitError, with_widths

from .errors import ForestError, place_of, shown

_Columns = dict[str, DataType | DataTypeClass]

_NODE_COLUMNS: _Columns = {
    "problem_id": pl.String,
    "tree": pl.String,
    "node_id": pl.Int32,
    "parent_id": pl.Int32,
    "token_ids": pl.List(pl.Int32),
    "logprobs": pl.List(pl.Float32),
    "entropies": pl.List(pl.Float32),
    "text": pl.String,
    "finish": pl.String,
}

NODE_SCHEMA = pl.Schema(_NODE_COLUMNS)
"""One row per tree node. Log-probs and entropies are in nats, at temperature 1."""

BOUND_COLUMNS = pl.Schema({"entropies_upper": pl.List(pl.Float32)})
"""Marks a forest whose entropies are bounds: `entropies` holds the lower one, this column the upper one."""

FOUND_COLUMNS = pl.Schema({"order": pl.Int32, "greedy": pl.Boolean})
"""What a search knows of its leaves: the number in which each was found, from 0 in every tree, and whether it is the
policy's greedy path. Null on inner nodes. Every search of ours writes both; best-of-n of a tree needs them."""

LABEL_COLUMNS = pl.Schema(
    {
        "leaves": pl.Int32,
        "correct": pl.Float64,
        "value": pl.Float64,
        "label": pl.Float64,
        "weight": pl.Float64,
    }
)
"""What labelling adds to a node: leaves below, right ones among them, value, training target and weight."""

LABELLED_SCHEMA = pl.Schema({**NODE_SCHEMA, **LABEL_COLUMNS})
"""A forest with node values and labels."""

_PROBLEM_COLUMNS: _Columns = {
    "problem_id": pl.String,
    "question": pl.String,
    "answer": pl.String,
    "prompt_token_ids": pl.List(pl.Int32),
    "source": pl.String,
    "split": pl.String,
    "metadata": pl.String,
}

PROBLEM_SCHEMA = pl.Schema(_PROBLEM_COLUMNS)
"""One row per problem: what was asked, the gold answer, and what the policy was given."""

FINISH_REASONS = ("stop", "length", "pruned")
"""Why a leaf ends: its stop token (included), a budget, or a search that gave it up."""

SPLITS = ("train", "test")


def check_frame(df: object) -> None:
    """Say what to do with what is no frame.

    Errors: TypeError.
    """
    if not isinstance(df, pl.DataFrame):
        hint = "; collect() makes one" if isinstance(df, pl.LazyFrame) else ""
        raise TypeError(f"expected a polars DataFrame, got {type(df).__name__}{hint}")


def check_columns(df: pl.DataFrame, schema: pl.Schema, *, not_null: tuple[str, ...]) -> pl.DataFrame:
    """Return the frame, integers and floats of other widths (polars' own are Int64 and Float64) cast to the schema's.

    Refused is a frame that lacks a column of the schema, has another type there, a number that does not fit, or a
    null where none may be. Columns beyond the schema are allowed (a score, say), and so is any order of columns.

    Examples:
        >>> check_columns(pl.DataFrame({"leaves": [1]}), pl.Schema({"leaves": pl.Int32}), not_null=()).dtypes
        [Int32]
        >>> try:
        ...     check_columns(pl.DataFrame({"tree": [1]}), pl.Schema({"tree": pl.String}), not_null=())
        ... except ForestError as error:
        ...     print(error)
        column 'tree': expected type String, got Int64
    """
    try:
        df = with_widths(df, schema)
    except MisfitError as error:
        why = f"expected values of {error.wanted}, got {shown(error.value)}"
        raise ForestError(why, column=error.column, place=place_of(df, error.row)) from None
    for name, expected in schema.items():
        if name not in df.columns:
            have = ", ".join(df.columns) or "none"
            raise ForestError(f"expected this column ({expected}), got columns {have}", column=name)
        if df.schema[name] != expected:
            raise ForestError(f"expected type {expected}, got {df.schema[name]}", column=name)
    for name in not_null:
        if df[name].null_count():
            row = df[name].is_null().arg_max() or 0
            raise ForestError("expected a value, got null", column=name, place=place_of(df, row))
    return df
