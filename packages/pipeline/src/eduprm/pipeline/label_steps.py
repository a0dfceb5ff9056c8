"""Where the steps that carry labels end, for the stages that search, label, train and judge.

A weight says how much a step counts in training, and a label rule, a filter or the weights of questions may make it 0.
The step ends there all the same: who judges or calibrates asks `step_ends`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from eduprm.core.command_line import UsageError

if TYPE_CHECKING:
    from eduprm.pipeline.settings import TrainSettings

ENDS = "ends_step"
"""Column of labelled trees: whether a step of `label.steps` ends with the node on some path."""


def step_ends(labelled: pl.DataFrame) -> pl.Series:
    """Per node of labelled trees, whether a step ends with it.

    Labels of runs from before the column `ends_step` say it by their weights, unless a solution weighs nothing.

    Raises:
        UsageError: such labels, and some solution weighs nothing.

    Examples:
        >>> trees = pl.DataFrame({"problem_id": "p", "weight": [2.0, 0.0, 1.0], "finish": [None, None, "stop"],
        ...     "token_ids": [[5], [6], [7]]})
        >>> step_ends(trees).to_list(), step_ends(trees.with_columns(ends_step=True)).to_list()
        ([True, False, True], [True, True, True])
    """
    if ENDS in labelled.columns:
        return labelled[ENDS]
    weighs = pl.col("weight") > 0
    unsaid = labelled.filter(~weighs, pl.col("finish").is_not_null(), pl.col("token_ids").list.len() > 0)
    if unsaid.height:
        raise UsageError(
            f"labels: expected a column {ENDS}, got none, and a solution of {unsaid['problem_id'][0]} weighs 0: an "
            "earlier version made them, which did not say where steps end; give --rerun label"
        )
    return labelled.select(weighs).to_series()


def step_segmenters(settings: TrainSettings) -> dict[str, dict[str, Any]]:
    """The segmenters at whose steps labels stand, with their options; entropy's are those that the trees grew with."""
    grown = {"threshold": settings.search.threshold, "skip_symbols": settings.search.skip_symbols}
    given: dict[str, Any] = {"entropy": grown, **settings.label.steps_options}
    return {name: dict(given.get(name, {})) for name in settings.label.steps}
