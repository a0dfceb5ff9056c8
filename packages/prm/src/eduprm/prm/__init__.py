"""Process reward models: heads, training on packed trees, scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eduprm.prm.config import InputFormat, LoraSettings, StepCut, TrainConfig

if TYPE_CHECKING:
    from eduprm.prm.data import Refusal, TrainingData, fit_to_length, forest_trees, labelled_trees
    from eduprm.prm.inputs import InputBuilder
    from eduprm.prm.published.load import load_step_scorer
    from eduprm.prm.score import ProcessRewardModel
    from eduprm.prm.solutions import StepScores
    from eduprm.prm.source import PrmSource
    from eduprm.prm.stepwise import stepwise_trees
    from eduprm.prm.train import TrainResult, train_prm
    from eduprm.prm.tree import TokenTree, build_tree

__all__ = [
    "InputBuilder",
    "InputFormat",
    "LoraSettings",
    "PrmSource",
    "ProcessRewardModel",
    "Refusal",
    "StepCut",
    "StepScores",
    "TokenTree",
    "TrainConfig",
    "TrainResult",
    "TrainingData",
    "build_tree",
    "fit_to_length",
    "forest_trees",
    "labelled_trees",
    "load_step_scorer",
    "stepwise_trees",
    "train_prm",
]

# Loaded on first use: settings must import without torch.
_HOMES = {
    "InputBuilder": "inputs",
    "PrmSource": "source",
    "ProcessRewardModel": "score",
    "Refusal": "data",
    "StepScores": "solutions",
    "TokenTree": "tree",
    "TrainResult": "train",
    "TrainingData": "data",
    "build_tree": "tree",
    "fit_to_length": "data",
    "forest_trees": "data",
    "labelled_trees": "data",
    "load_step_scorer": "published.load",
    "stepwise_trees": "stepwise",
    "train_prm": "train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
