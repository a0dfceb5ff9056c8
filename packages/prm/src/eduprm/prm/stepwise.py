"""Training data in the stepwise-supervision format: columns prompt, completions, labels.

For data sets made for the PRM trainer that TRL has removed (huggingface/trl#7133).
Source: TRL's documented "stepwise supervision" dataset type; labels stand at the end of each step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from eduprm.prm.data import RejectedRow, TrainingData
from eduprm.prm.inputs import InputBuilder
from eduprm.prm.joining import joined_line
from eduprm.prm.tree import TokenTree, build_tree

__all__ = ["stepwise_trees"]

IGNORED = -100
MARKS = {"+": 1.0, "-": 0.0}
"""Math-Shepherd's labels."""


def _label(value: Any, index: int) -> float | None:
    """Return a target in [0, 1], None where the label is masked (null or -100); `index` is counted from 0."""
    if value is None or (not isinstance(value, bool) and value == IGNORED):
        return None
    if isinstance(value, (bool, int, float, np.bool_, np.integer, np.floating)):
        number = float(value)
        if math.isfinite(number) and 0.0 <= number <= 1.0:
            return number
    elif isinstance(value, str) and value in MARKS:
        return MARKS[value]
    raise ValueError(
        f"expected label {index} to be a bool, a number in [0, 1], '+' or '-', got {value!r}"
        + ("; turn ratings of -1, 0 and 1 into numbers first (docs/step-data.md)" if value == -1 else "")
    )


def _column(row: Mapping[str, Any], name: str, kinds: tuple[type, ...], wanted: str) -> Any:
    value = row.get(name)
    if not isinstance(value, kinds):
        raise ValueError(f"expected column {name!r} to be {wanted}, got {value!r}"[:200])
    return value


def _row_tree(
    row: Mapping[str, Any], builder: InputBuilder, number: int, name: str, *, last_step_only: bool
) -> TokenTree:
    prompt = _column(row, "prompt", (str,), "text")
    steps: Sequence[str] = _column(row, "completions", (list, tuple, np.ndarray), "a list")
    labels: Sequence[Any] = _column(row, "labels", (list, tuple, np.ndarray), "a list")
    if len(steps) != len(labels):
        raise ValueError(f"expected as many labels as completions, got {len(labels)} and {len(steps)}")
    targets = [_label(value, index) for index, value in enumerate(labels)]
    if last_step_only:
        targets[:-1] = [None for _ in targets[:-1]]
    if all(target is None for target in targets):
        raise ValueError(f"all {len(targets)} labels are masked")
    nodes = builder.solution_ids(list(steps))
    return build_tree(
        builder.prompt_ids(prompt),
        nodes,
        range(-1, len(nodes) - 1),
        name=name,
        targets=[0.0 if target is None else target for target in targets],
        weights=[0.0 if target is None else 1.0 for target in targets],
        rows=[number] * len(nodes),
    )


def stepwise_trees(
    dataset: pl.DataFrame | Iterable[Mapping[str, Any]],
    builder: InputBuilder,
    *,
    last_step_only: bool = False,
    id_column: str = "id",
) -> TrainingData:
    r"""Return one chain per row: `prompt` text, `completions` list of texts, `labels` list of bools or numbers.

    `dataset` may be a `datasets.Dataset`, a polars frame or any iterable of mappings. `last_step_only` keeps the label
    of the last step alone. Labels lie in [0, 1], "+" is 1 and "-" 0; null and -100 mask one. Build `builder` with
    `InputFormat.stepwise()` to get what TRL fed its models: the bare prompt, each step followed by the separator. A
    format without a separator puts its `joiner` between the steps of lists without line breaks, and that is said in a
    warning.

    Rows without a usable label are collected in `rejected` with their row number, from 1, and id; training on them is
    an error unless the config says to skip them.

    Examples:
        >>> from eduprm.prm import InputBuilder, InputFormat
        >>> from eduprm.prm.testing import byte_tokenizer
        >>> builder = InputBuilder(byte_tokenizer(), InputFormat.stepwise())
        >>> row = {"prompt": "1+1?", "completions": ["1+1", "=2"], "labels": [True, 0.5]}
        >>> stepwise_trees([row], builder).trees[0].targets.tolist()
        [1.0, 0.5]
    """
    rows = dataset.iter_rows(named=True) if isinstance(dataset, pl.DataFrame) else dataset
    trees, rejected, joined = [], [], 0
    for number, row in enumerate(rows):
        row_id = row.get(id_column)
        name = f"{number}" if row_id is None else str(row_id)
        try:
            trees.append(_row_tree(row, builder, number, name, last_step_only=last_step_only))
            joined += bool(builder.added_joiner(list(row["completions"])))
        except ValueError as error:
            rejected.append(RejectedRow(number + 1, name, str(error)))
    if joined:
        warnings.warn(joined_line(joined, len(trees), builder.format.joiner), stacklevel=2)
    return TrainingData(trees, rejected)
