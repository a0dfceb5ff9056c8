"""Each way a forest or a problems table can be broken is refused in one line: column, row and why."""

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from eduprm.forest import (
    LABEL_COLUMNS,
    LABELLED_SCHEMA,
    NODE_SCHEMA,
    PROBLEM_SCHEMA,
    ForestError,
    found_leaves,
    leaf_paths,
    topology,
    validate_forest,
    validate_problems,
    write_shard,
)


def put(column: str, row: int, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A function that puts one value into a frame."""

    def change(df: pl.DataFrame) -> pl.DataFrame:
        values = df[column].to_list()
        values[row] = value
        return df.with_columns(pl.Series(column, values, dtype=df.schema[column]))

    return change


def test_good_forests_pass_unchanged(labelled: pl.DataFrame, nodes: pl.DataFrame) -> None:
    assert validate_forest(labelled) is labelled
    assert validate_forest(nodes) is nodes
    extra = labelled.with_columns(score=0.5).select(*reversed(labelled.columns), "score")
    assert validate_forest(extra) is extra  # order and further columns are free
    assert validate_forest(NODE_SCHEMA.to_frame()).height == 0
    assert (
        validate_forest(put("logprobs", 1, [1e-5])(nodes)).height == 6
    )  # a half-precision engine's sure token
    assert validate_forest(put("logprobs", 1, [-1e30])(nodes)).height == 6


def test_integers_of_other_widths_are_cast_where_they_fit(labelled, tmp_path) -> None:
    plain = pl.DataFrame(labelled.to_dicts())
    assert plain.schema["node_id"] == pl.Int64  # as polars makes it
    assert plain.schema["logprobs"] == plain.schema["entropies"] == pl.List(pl.Float64)
    assert validate_forest(plain).equals(labelled)
    assert validate_forest(plain).schema == labelled.schema
    half = plain.cast({"value": pl.Float32, "token_ids": pl.List(pl.UInt16), "parent_id": pl.Int8})
    assert validate_forest(half).schema == labelled.schema
    assert pl.read_parquet(write_shard(plain, tmp_path, "0")).schema == labelled.schema
    third = put("logprobs", 1, [-1 / 3])(plain)  # no float32: rounded as any log-prob is
    assert validate_forest(third)["logprobs"][1].to_list() == [float(np.float32(-1 / 3))]
    for row, values in ((1, [-1e39]), (2, [-0.5, -1e300])):
        with pytest.raises(
            ForestError, match=rf"'logprobs', row {row + 1} .*node {row}.*List\(Float32\), got .*e\+"
        ):
            validate_forest(put("logprobs", row, values)(plain))
    with pytest.raises(ForestError, match=r"'logprobs', row 3 .*0 or less, got -inf at index 0"):
        validate_forest(put("logprobs", 2, [-math.inf, 0.0])(plain))
    large = put("token_ids", 1, [2**31])(plain)
    with pytest.raises(
        ForestError, match=r"'token_ids', row 2 .*expected values of List\(Int32\), got \[2147483648\]"
    ):
        validate_forest(large)
    problems = pl.DataFrame([["p", "1?", "1", [4], "s", "train", None]], schema=PROBLEM_SCHEMA, orient="row")
    wide = problems.cast({"prompt_token_ids": pl.List(pl.Int64)})
    assert validate_problems(wide).schema == problems.schema


def test_columns_of_nulls_alone_take_the_types_of_the_schema() -> None:
    roots = [["p", "samples", 0, None, [5], [-0.5], [0.7], "4", "stop"]]
    plain = pl.DataFrame(roots, schema=NODE_SCHEMA.names(), orient="row")
    assert plain.schema["parent_id"] == pl.Null  # as polars makes it
    assert validate_forest(plain).schema == NODE_SCHEMA
    problems = pl.DataFrame(
        [["p", "1?", None, None, "s", "train", None]], schema=PROBLEM_SCHEMA.names(), orient="row"
    )
    assert validate_problems(problems).schema == PROBLEM_SCHEMA
    with pytest.raises(ForestError, match=r"'text', row 1 .*expected a value, got null"):
        validate_forest(plain.with_columns(text=pl.lit(None)))


@pytest.mark.parametrize("call", [validate_forest, validate_problems, topology, leaf_paths, found_leaves])
def test_what_is_no_frame_is_named(call: Callable, nodes: pl.DataFrame) -> None:
    with pytest.raises(
        TypeError, match=r"^expected a polars DataFrame, got LazyFrame; collect\(\) makes one$"
    ):
        call(nodes.lazy())
    with pytest.raises(TypeError, match=r"^expected a polars DataFrame, got list$"):
        call(nodes.to_dicts())


BROKEN = {
    "another type": (
        lambda df: df.cast({"node_id": pl.Float64}),
        "node_id",
        None,
        "expected type Int32, got Float64",
    ),
    "inner type": (
        lambda df: df.cast({"logprobs": pl.List(pl.String)}),
        "logprobs",
        None,
        "got List(String)",
    ),
    "no problem": (put("problem_id", 2, None), "problem_id", 2, "expected a value, got null"),
    "no list": (put("entropies", 1, None), "entropies", 1, "expected a value, got null"),
    "no text": (put("text", 1, None), "text", 1, "expected a value, got null"),
    "first id": (lambda df: df[1:], "node_id", 0, "expected 0 (a tree starts with its root), got 1"),
    "gap": (put("node_id", 2, 3), "node_id", 2, "expected 2 (ids count up by one within a tree), got 3"),
    "unsorted": (lambda df: df[[0, 2, 1, 3, 4, 5]], "node_id", 1, "expected 1 (ids count up by one"),
    "split tree": (lambda df: df[[0, 3, 4, 5, 1, 2]], "tree", 4, "expected all rows of a tree together"),
    "twice": (lambda df: pl.concat([df, df[:1]]), "tree", 6, "expected all rows of a tree together"),
    "two roots": (put("parent_id", 2, None), "parent_id", 2, "expected an id from 0 to 1, got null"),
    "no root": (put("parent_id", 3, 1), "parent_id", 3, "expected null (node 0 is the root), got 1"),
    "itself": (put("parent_id", 2, 2), "parent_id", 2, "expected an id from 0 to 1, got 2"),
    "ahead": (put("parent_id", 1, 2), "parent_id", 1, "expected an id from 0 to 0, got 2"),
    "negative": (put("parent_id", 1, -1), "parent_id", 1, "expected an id from 0 to 0, got -1"),
    "unknown finish": (
        put("finish", 1, "eos"),
        "finish",
        1,
        "expected one of stop, length, pruned, got 'eos'",
    ),
    "open leaf": (
        put("finish", 2, None),
        "finish",
        2,
        "expected one of stop, length, pruned on a leaf, got None",
    ),
    "closed node": (
        put("finish", 0, "stop"),
        "finish",
        0,
        "expected null on a node with children, got 'stop'",
    ),
    "no tokens": (put("token_ids", 1, []), "token_ids", 1, "expected at least one token"),
    "null token": (
        put("token_ids", 2, [8, None]),
        "token_ids",
        2,
        "expected ids of 0 or more, got null at index 1",
    ),
    "token below 0": (
        put("token_ids", 4, [5, -1, 8]),
        "token_ids",
        4,
        "expected ids of 0 or more, got -1 at index 1",
    ),
    "ragged": (put("logprobs", 2, [-1.0]), "logprobs", 2, "expected 2 values, one per token id, got 1"),
    "long": (put("entropies", 3, [1.0]), "entropies", 3, "expected 0 values, one per token id, got 1"),
    "null inside": (put("entropies", 2, [None, 0.0]), "entropies", 2, "0 or more, got null at index 0"),
    "nan": (put("entropies", 2, [0.0, math.nan]), "entropies", 2, "0 or more, got nan at index 1"),
    "infinite": (put("logprobs", 2, [-math.inf, 0.0]), "logprobs", 2, "0 or less, got -inf at index 0"),
    "above 0": (put("logprobs", 5, [-0.1, 0.01]), "logprobs", 5, "0 or less, got 0.009"),
    "below 0": (put("entropies", 1, [-0.01]), "entropies", 1, "0 or more, got -0.0099"),
}

BROKEN_LABELS = {
    "value above": (put("value", 1, 1.01), "value", 1, "expected a share from 0 to 1, got 1.01"),
    "value nan": (put("value", 1, math.nan), "value", 1, "expected a share from 0 to 1, got nan"),
    "label below": (put("label", 2, -0.5), "label", 2, "expected a share from 0 to 1, got -0.5"),
    "label null": (put("label", 2, None), "label", 2, "expected a value, got null"),
    "weight below": (put("weight", 0, -1.0), "weight", 0, "expected a finite number, 0 or more, got -1.0"),
    "weight infinite": (
        put("weight", 0, math.inf),
        "weight",
        0,
        "expected a finite number, 0 or more, got inf",
    ),
    "scale below": (
        lambda df: df.with_columns(scale=pl.Series([-1.0] + [1.0] * (df.height - 1))),
        "scale",
        0,
        "expected a finite number, 0 or more, got -1.0",
    ),
    "too many leaves": (put("leaves", 1, 2), "leaves", 1, "expected 0 to the number of leaves below"),
    "too many right": (put("correct", 2, 2.0), "correct", 2, "expected 0 to the number in 'leaves', got 2.0"),
    "labels missing": (
        lambda df: df.drop("weight"),
        "weight",
        None,
        "expected this column (Float64), got columns",
    ),
}


def refused(call: Callable[[], object]) -> ForestError:
    with pytest.raises(ForestError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return caught.value


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_forest_is_refused(case: str, nodes: pl.DataFrame) -> None:
    change, column, row, why = BROKEN[case]
    error = refused(lambda: validate_forest(change(nodes)))
    assert error.column == column
    assert (error.place.row if error.place else None) == row
    assert why in str(error)
    assert repr(column) in str(error)
    assert row is None or f"row {row + 1}" in str(error)


@pytest.mark.parametrize("case", BROKEN_LABELS)
def test_broken_labels_are_refused(case: str, labelled: pl.DataFrame) -> None:
    change, column, row, why = BROKEN_LABELS[case]
    error = refused(lambda: validate_forest(change(labelled)))
    assert (error.column, error.place.row if error.place else None) == (column, row)
    assert why in str(error)


@pytest.mark.parametrize("column", NODE_SCHEMA.names())
def test_a_missing_column_is_named(column: str, nodes: pl.DataFrame) -> None:
    error = refused(lambda: validate_forest(nodes.drop(column)))
    assert error.column == column
    assert "got columns" in str(error)


def test_the_place_is_named_in_full(nodes: pl.DataFrame) -> None:
    error = refused(lambda: validate_forest(put("finish", 4, "eos")(nodes)))
    assert str(error).startswith("column 'finish', row 5 (problem 'p', tree 'ht', node 1): expected one of")


def test_a_hostile_name_cannot_break_the_line(nodes: pl.DataFrame) -> None:
    named = nodes.with_columns(problem_id=pl.lit("p\n\x1b[31m" + "x" * 999))
    error = refused(lambda: validate_forest(put("finish", 4, "e\nos")(named)))
    assert "\x1b" not in str(error)


def test_labels_can_be_demanded_or_left_out(labelled: pl.DataFrame, nodes: pl.DataFrame) -> None:
    assert refused(lambda: validate_forest(nodes, labelled=True)).column == "leaves"
    broken = put("value", 0, 7.0)(labelled)
    assert validate_forest(broken, labelled=False) is broken
    assert list(LABELLED_SCHEMA) == [*NODE_SCHEMA, *LABEL_COLUMNS]


@pytest.fixture
def problems() -> pl.DataFrame:
    rows = [
        ["a", "2 * 3 = ?", "6", [1, 2], "gsm8k", "train", None],
        ["b", "2 * 4 = ?", None, None, "reasoning_gym:products", "test", '{"x": 1}'],
        ["c", "2 * 5 = ?", "10", [], "gsm8k", "test", None],
    ]
    return pl.DataFrame(rows, schema=PROBLEM_SCHEMA, orient="row")


BROKEN_PROBLEMS = {
    "id": (put("problem_id", 1, None), "problem_id", 1, "expected a value, got null"),
    "id twice": (put("problem_id", 1, "a"), "problem_id", 1, "expected a new id, got one seen above: 'a'"),
    "blank id": (put("problem_id", 1, " "), "problem_id", 1, "expected some text, got ' '"),
    "question": (put("question", 2, None), "question", 2, "expected a value, got null"),
    "blank question": (put("question", 2, "\n"), "question", 2, r"expected some text, got '\n'"),
    "split": (put("split", 0, "dev"), "split", 0, "expected one of train, test, got 'dev'"),
    "source": (put("source", 0, None), "source", 0, "expected a value, got null"),
    "metadata": (put("metadata", 2, "{x"), "metadata", 2, "expected JSON or null, got '{x'"),
    "prompt null": (put("prompt_token_ids", 2, [4, None]), "prompt_token_ids", 2, "got null at index 1"),
    "prompt below 0": (put("prompt_token_ids", 2, [-4]), "prompt_token_ids", 2, "got -4 at index 0"),
    "type": (
        lambda df: df.with_columns(metadata=pl.lit(3)),
        "metadata",
        None,
        "expected type String, got Int32",
    ),
    "metadata too deep": (
        put("metadata", 0, "[" * 100_000),
        "metadata",
        0,
        "expected JSON or null, got '[[[",
    ),
}


def test_good_problems_pass_unchanged(problems: pl.DataFrame) -> None:
    assert validate_problems(problems) is problems
    assert validate_problems(PROBLEM_SCHEMA.to_frame()).height == 0


@pytest.mark.parametrize("case", BROKEN_PROBLEMS)
def test_broken_problems_are_refused(case: str, problems: pl.DataFrame) -> None:
    change, column, row, why = BROKEN_PROBLEMS[case]
    error = refused(lambda: validate_problems(change(problems)))
    assert (error.column, error.place.row if error.place else None) == (column, row)
    assert why in str(error)


def test_imports_without_torch() -> None:
    code = "import sys, eduprm.forest; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
