"""Trees grown from bounds of the entropy, by a server without the plugin."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from eduprm.forest import ForestError, leaf_paths, validate_forest
from eduprm.search import Budget, EduSampling, HighTemperature
from eduprm.search.contract import EngineMismatchError
from eduprm.search.sglang.testing import (
    ScriptedServer,
    grow_scripted,
    scripted_model,
)


@pytest.fixture
def model(tmp_path):
    return scripted_model(tmp_path / "tiny")


@pytest.fixture
def whole(model) -> pl.DataFrame:
    return grow_scripted(model, ScriptedServer())[0].forest


def test_bounds_mark_the_forest_and_hold_the_exact_entropy(model, whole):
    strategies = [EduSampling(threshold=1.0, budget=Budget(max_leaves=1, max_tokens_per_path=12))]
    growth, _ = grow_scripted(
        model, ScriptedServer(plugin=False), entropy="bounds", top_logprobs=6, strategies=strategies
    )
    forest = validate_forest(growth.forest)
    exact, _ = grow_scripted(model, ScriptedServer(), strategies=strategies)
    mine, theirs = leaf_paths(forest), leaf_paths(exact.forest)
    assert mine["token_ids"].equals(theirs["token_ids"])
    lower, upper, true = (
        np.concatenate([np.array(row) for row in column])
        for column in (
            forest.group_by("problem_id", maintain_order=True).agg(pl.col("entropies").explode())[
                "entropies"
            ],
            forest.group_by("problem_id", maintain_order=True).agg(pl.col("entropies_upper").explode())[
                "entropies_upper"
            ],
            theirs["entropies"],
        )
    )
    assert (lower <= true).all()
    assert (true <= upper).all()
    assert (upper - lower).max() > 0.1
    broken = forest.with_columns(entropies_upper=pl.col("entropies").list.eval(pl.element() - 0.5))
    with pytest.raises(ForestError, match="entropies_upper"):
        validate_forest(broken)


def test_bounds_of_samples_are_refused_where_the_log_probs_are_of_another_temperature(model):
    with pytest.raises(EngineMismatchError, match=r"temperature 0\.7"):
        grow_scripted(
            model,
            ScriptedServer(),
            entropy="bounds",
            strategies=[HighTemperature(temperature=0.7, max_tokens_per_path=12)],
        )
