"""Weights of questions in a run: what weighs nothing is left out and said, and older run folders stay valid."""

import polars as pl
import pytest

from eduprm.core.command_line import UsageError
from eduprm.pipeline.run_folder import RunFolder, stage_settings
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.settings_parts import LabelSettings
from eduprm.pipeline.train_prm import _weighed

LABELLED = pl.DataFrame(
    {"problem_id": ["a", "a", "b", "b", "c"], "tree": "edu", "weight": [0.0, 1.5, 0.0, 0.0, 2.0]}
)


def test_questions_of_weight_0_are_left_out_and_said(capsys):
    assert _weighed(LABELLED, "east")["problem_id"].to_list() == ["a", "a", "c"]
    assert "prm: 1 of 3 questions weigh 0 by east and are left out" in "".join(capsys.readouterr())
    assert _weighed(LABELLED, "one").equals(LABELLED)  # what has no label at all is refused later, by name


def test_no_question_that_counts_is_an_error():
    with pytest.raises(
        UsageError, match=r"--label\.weights east: none of the 3 questions weighs more than 0"
    ):
        _weighed(LABELLED.with_columns(weight=pl.lit(0.0)), "east")


def test_a_run_from_before_a_setting_goes_on_with_its_default_alone(tmp_path):
    folder = RunFolder(tmp_path)
    now = stage_settings(TrainSettings(_cli_parse_args=[]))["label"]
    folder.begin("label", {name: value for name, value in now.items() if "weights" not in name}, {})
    folder.check("label", now, {})
    east = stage_settings(TrainSettings(_cli_parse_args=[], label=LabelSettings(weights="east")))["label"]
    with pytest.raises(UsageError, match=r"label\.weights was 'one', is now 'east'\. Give --rerun label"):
        folder.check("label", east, {})


def test_options_of_weights_are_checked():
    with pytest.raises(ValueError, match="east: expected power above 0"):
        LabelSettings(weights="east", weights_options={"power": 0})
    with pytest.raises(ValueError, match="one: expected no options, got 'power'"):
        LabelSettings(weights_options={"power": 2})
