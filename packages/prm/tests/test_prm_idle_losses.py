"""A loss that finds nothing to learn from in all of the data is said before training."""

from __future__ import annotations

import warnings

import pytest

from eduprm.prm import InputBuilder, InputFormat, TrainConfig, stepwise_trees, train_prm
from eduprm.prm.loss_weights import say_idle_losses
from eduprm.prm.testing import byte_tokenizer
from eduprm.prm.tree import build_tree

ROWS = [{"prompt": "1+1?", "completions": ["1+1", "=3"], "labels": [True, False]}] * 2
SMALL = TrainConfig.for_small_model().losses


def test_forks_are_missed_in_step_data_before_training(backbone, tmp_path):
    builder = InputBuilder(byte_tokenizer(), InputFormat.stepwise())
    config = TrainConfig.for_small_model().model_copy(update={"last_layers": 1, "save_steps": None})
    with pytest.warns(
        UserWarning, match="loss fork weighs 0 on all trees.*no forks.*'cross_entropy'"
    ) as said:
        train_prm(
            backbone, stepwise_trees(ROWS, builder), builder, tmp_path / "m", config=config, progress=False
        )
    assert len([one for one in said if "weighs 0" in str(one.message)]) == 1


def test_each_idle_loss_is_named_once_and_others_are_not():
    wrong = build_tree([7], [[1], [2]], [-1, -1], targets=[0.0, 0.0], weights=[1.0, 1.0])
    with pytest.warns(UserWarning, match="weighs 0") as said:
        say_idle_losses([wrong, wrong], {"cross_entropy": 1.0, **SMALL})
    assert [str(one.message).split(":")[0] for one in said] == [
        f"the loss {name} weighs 0 on all trees and trains nothing" for name in SMALL
    ]
    assert "no place to learn from" in str(said[0].message)  # there are forks, of equal values


def test_data_are_looked_at_until_every_loss_found_something():
    wrong = build_tree([7], [[1], [2]], [-1, -1], targets=[0.0, 0.0], weights=[1.0, 1.0])
    forked = build_tree([7], [[1], [2]], [-1, -1], targets=[1.0, 0.0], weights=[1.0, 1.0])

    def pieces():
        yield from (wrong, forked)
        raise AssertionError("asked for more than is needed")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_idle_losses(pieces(), SMALL)
