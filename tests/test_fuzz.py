"""Forests, solution files and settings that nobody would write: an error of ours or a result, never a traceback.

Opt-in: `EDUPRM_FUZZ=200 uv run pytest tests/test_fuzz.py` tries 200 examples of each kind.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eduprm.core.errors import UsageError
from eduprm.forest import LABELLED_SCHEMA, ForestError, read_forest, validate_forest, write_shard
from eduprm.rank.testing import problems

EXAMPLES = int(os.environ.get("EDUPRM_FUZZ", "0"))
pytestmark = pytest.mark.skipif(EXAMPLES < 1, reason="opt-in: EDUPRM_FUZZ=200")
fuzz = settings(
    max_examples=max(EXAMPLES, 1),
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
    ],
)

TEXT = st.text(max_size=12) | st.sampled_from(
    ["", " ", "\x00", "nan", "1e999", "-1", "none", "[]", "{}", "\ud800"]
)
NUMBER = st.integers(-3, 5) | st.integers() | st.floats()
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=6,
)


def forest() -> pl.DataFrame:
    """A tree with one fork, labelled."""
    rows = [
        ["p", "edu", 0, None, [5, 6], [-0.1, -0.2], [0.2, 0.4], "2 * 3", None, 2, 1.0, 0.5, 0.5, 2.0],
        ["p", "edu", 1, 0, [7], [-0.3], [1.5], " = 6", "stop", 1, 1.0, 1.0, 1.0, 1.0],
        ["p", "edu", 2, 0, [8, 9], [-1.3, 0.0], [1.5, 0.0], " = 7", "length", 1, 0.0, 0.0, 0.0, 1.0],
    ]
    return pl.DataFrame(rows, schema=LABELLED_SCHEMA, orient="row")


@fuzz
@given(data=st.data())
def test_a_changed_forest_is_refused_or_read(data: st.DataObject) -> None:
    frame = validate_forest(forest(), labelled=True)
    for _ in range(data.draw(st.integers(1, 3))):
        column = data.draw(st.sampled_from(frame.columns))
        what = data.draw(st.sampled_from(["value", "type", "drop", "rows", "rename"]))
        if what == "drop":
            frame = frame.drop(column)
        elif what == "rename":
            frame = frame.rename({column: f"x{column}"})
        elif what == "type":
            kind = data.draw(
                st.sampled_from([pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.List(pl.Int8), pl.Null])
            )
            try:
                frame = frame.with_columns(pl.col(column).cast(kind, strict=False))
            except pl.exceptions.PolarsError:
                return
        elif what == "rows":
            order = data.draw(st.lists(st.integers(0, max(frame.height - 1, 0)), max_size=5))
            frame = frame[order] if frame.height else frame
        elif frame.height:
            values = frame[column].to_list()
            values[data.draw(st.integers(0, len(values) - 1))] = data.draw(VALUE)
            try:
                frame = frame.with_columns(
                    pl.Series(column, values, dtype=frame.schema[column], strict=False)
                )
            except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
                return  # polars itself refuses such a column
        if not frame.columns:
            return
    with suppress(ForestError):
        checked = validate_forest(frame)
        # What is let through can be written and read again.
        with TemporaryDirectory() as folder:
            assert read_forest(write_shard(checked, folder, "a")).equals(checked)


@fuzz
@given(data=st.data())
def test_a_spoilt_parquet_file_is_named(data: st.DataObject, tmp_path: Path) -> None:
    file = write_shard(forest(), tmp_path, "a")
    whole = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    spoilt = tmp_path / "b.parquet"
    spoilt.write_bytes(
        bytes(whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole)
    )
    reason = ""
    try:
        read_forest(spoilt)
    except ForestError as error:
        reason = str(error)
    assert not reason or "b.parquet" in reason


LINE = st.one_of(
    VALUE.map(json.dumps),
    st.fixed_dictionaries(
        {"id": VALUE, "problem": VALUE, "solutions": VALUE}, optional={"answer": VALUE, "x": VALUE}
    ).map(json.dumps),
    st.fixed_dictionaries(
        {"id": TEXT, "problem": TEXT, "solutions": st.lists(TEXT, max_size=3), "answer": TEXT}
    ).map(json.dumps),
    st.text(max_size=30).map(lambda text: text.replace("\n", " ")),
    st.sampled_from(['{"id": 1', '{"id": NaN}', '{"id": 1e999}', "\x00", "[" * 3000, '{"a": 1, "a": 2}']),
)


@fuzz
@given(lines=st.lists(LINE, min_size=1, max_size=6), good=st.booleans())
def test_any_file_of_solutions_ends_with_a_status(
    lines: list[str], good: bool, rerank: Any, tmp_path: Path
) -> None:
    first = [json.dumps(row) for row in problems(1)] if good else []
    data = "\n".join([*first, *lines]).encode("utf-8", "surrogatepass") + b"\n"
    (tmp_path / "in.jsonl").write_bytes(data)
    status, _, err = rerank("in.jsonl", "--output", "out.jsonl")
    assert status in (0, 2, 3), err
    assert "Traceback" not in err
    if status == 2:
        assert err.strip()
    else:
        report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
        assert report["solutions"] >= 1
        assert (status == 3) == (report["rejected"] > 0)


def flags() -> list[str]:
    """Every flag of apps/train, nested ones too."""
    from pydantic import BaseModel

    from eduprm.pipeline.settings import TrainSettings

    def below(model: type[BaseModel], before: str) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            flag = f"{before}{name.replace('_', '-')}"
            kind = field.annotation
            found += (
                below(kind, f"{flag}.") if isinstance(kind, type) and issubclass(kind, BaseModel) else [flag]
            )
        return found

    return below(TrainSettings, "--")


FLAG = st.sampled_from(flags()) if EXAMPLES else st.nothing()
WORD = (
    TEXT
    | NUMBER.map(str)
    | VALUE.map(json.dumps)
    | st.sampled_from(["edu", "temperature", "a=edu", "mine:X", "{"])
)


@fuzz
@given(arguments=st.lists(st.tuples(FLAG, WORD), min_size=1, max_size=4), toml=VALUE)
def test_any_command_line_is_read_or_refused(
    arguments: list[tuple[str, str]], toml: Any, tmp_path: Path
) -> None:
    from eduprm.core.command_line import load_settings
    from eduprm.pipeline.settings import TrainSettings

    words = [word for flag, value in arguments for word in (flag, value)]
    if isinstance(toml, dict):
        recipe = tmp_path / "recipe.toml"
        text = "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in toml.items())
        recipe.write_bytes(text.encode("utf-8", "surrogatepass"))
        words += ["--config", str(recipe)]
    reason = "fine"
    try:
        load_settings(TrainSettings, words)
    except UsageError as error:
        reason = str(error).strip()
    except SystemExit as stopped:  # --help
        reason = "" if stopped.code else "help"
    assert reason
