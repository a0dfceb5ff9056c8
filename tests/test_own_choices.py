"""Anybody's own module of the wrong shape is refused at the start, in a line that says what it lacks."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eduprm.core import registry
from eduprm.core.command_line import UsageError, load_settings

KINDS = {
    "eduprm.segment.segmenters": "StepSegmenter", "eduprm.label.rules": "LabelRule",
    "eduprm.label.filters": "RowFilter", "eduprm.label.judges": "PathJudge", "eduprm.label.weights": "QuestionWeights",
    "eduprm.label.graders": "Grader", "eduprm.prm.losses": "LossFunction", "eduprm.prm.scorers": "StepScoring",
    "eduprm.prm.curricula": "TrainingOrder", "eduprm.prm.calibrations": "ScoreCalibration",
    "eduprm.prm.published.formats": "PublishedFormat", "eduprm.search.strategies": "Strategy",
    "eduprm.rank.rules": "LeafRule", "eduprm.rank.wrappers": "ScoreWrapper", "eduprm.problems.tasks": "ProblemTask",
}  # fmt: skip
MINE = """
class Nothing:
    pass

class NoTree:
    async def grow(self, prompt_ids, **given):
        return []

number = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_wrong_shape.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("package", KINDS)
def test_what_is_asked_of_a_kind_is_what_its_contract_says(package: str) -> None:
    folder = importlib.import_module(package)
    tree = ast.parse((Path(folder.__path__[0]) / "_contract.py").read_text())
    contract = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == KINDS[package])
    methods = {n.name for n in contract.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    fields = {n.target.id for n in contract.body if isinstance(n, ast.AnnAssign)}
    asked = {*folder.CLASS_HAS, *getattr(folder, "OBJECT_HAS", ())}
    assert asked == (methods | fields) - {"__init__"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategies", "mine_of_wrong_shape:Nothing"], "--strategies: strategies: 'mine_of_wrong_shape:Nothing' has "
         "no 'grow': expected grow, as docs/extend.md and eduprm.search.strategies._contract say"),
        (["--strategies", "mine_of_wrong_shape:NoTree"], "has no 'tree': expected tree, cut"),
        (["--label.rule", "mine_of_wrong_shape:Nothing"], "--label.rule: rules: 'mine_of_wrong_shape:Nothing' has no "
         "'values'"),
        (["--label.rule", "mine_of_wrong_shape:number"], "to name a class, got int"),
        (["--label.steps", "mine_of_wrong_shape:Nothing"], "has no '__call__'"),
        (["--label.filter", "mine_of_wrong_shape:Nothing"], "has no 'keeps'"),
        (["--label.weights", "mine_of_wrong_shape:Nothing"], "has no 'of'"),
        (["--prm.calibrate", "mine_of_wrong_shape:Nothing"], "has no 'fit'"),
        (["--prm.train.curriculum", "mine_of_wrong_shape:Nothing"], "has no 'orders'"),
    ],
)  # fmt: skip
def test_train_refuses_it_when_settings_are_read(mine: None, arguments: list[str], said: str) -> None:
    from eduprm.pipeline.settings import TrainSettings

    with pytest.raises(UsageError) as caught:
        load_settings(TrainSettings, arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrapper_and_a_loss(mine: None) -> None:
    from eduprm.rank.wrapping import WrapSettings

    with pytest.raises(ValueError, match=r"wrappers: 'mine_of_wrong_shape:Nothing' has no 'score_steps'"):
        WrapSettings(wrap=["mine_of_wrong_shape:Nothing"])
    with pytest.raises(
        ValueError, match=r"losses: .* has no 'needs': expected needs, weight, total, as docs/extend"
    ):
        registry.load("eduprm.prm.losses", "mine_of_wrong_shape:Nothing", "Loss")


def test_a_module_in_the_current_folder_says_how_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "my_own_rule.py").write_text(
        "class Rule:\n    def values(self, trees):\n        return trees.shares()\n"
    )
    code = "import sys; sys.path.remove(''); from eduprm.core.registry import load; "
    code += "print(load('eduprm.label.rules', 'my_own_rule:Rule', 'Rule').__name__)"

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **more}, capture_output=True, text=True
        )

    refused = run().stderr
    assert "the current folder is not on Python's path: put PYTHONPATH=. before the command" in refused
    assert run(PYTHONPATH=".").stdout == "Rule\n"
