"""Process reward models: heads, training on packed trees, scoring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eduprm.core.lazy import exports

if TYPE_CHECKING:
    from eduprm.prm.config import InputFormat as InputFormat
    from eduprm.prm.config import LoraSettings as LoraSettings
    from eduprm.prm.config import StepCut as StepCut
    from eduprm.prm.config import TrainConfig as TrainConfig
    from eduprm.prm.data import RejectedRow as RejectedRow
    from eduprm.prm.data import TrainingData as TrainingData
    from eduprm.prm.data import fit_to_length as fit_to_length
    from eduprm.prm.data import forest_trees as forest_trees
    from eduprm.prm.data import labelled_trees as labelled_trees
    from eduprm.prm.inputs import InputBuilder as InputBuilder
    from eduprm.prm.published.load import load_step_scorer as load_step_scorer
    from eduprm.prm.score import ProcessRewardModel as ProcessRewardModel
    from eduprm.prm.solutions import StepScores as StepScores
    from eduprm.prm.source import PrmSource as PrmSource
    from eduprm.prm.stepwise import stepwise_trees as stepwise_trees
    from eduprm.prm.train import TrainResult as TrainResult
    from eduprm.prm.train import train_prm as train_prm
    from eduprm.prm.tree import TokenTree as TokenTree
    from eduprm.prm.tree import build_tree as build_tree

# Loaded on first use: settings must import without torch.
_WHERE = {
    "InputFormat": "config",
    "LoraSettings": "config",
    "StepCut": "config",
    "TrainConfig": "config",
    "InputBuilder": "inputs",
    "PrmSource": "source",
    "ProcessRewardModel": "score",
    "RejectedRow": "data",
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

__all__, __getattr__, __dir__ = exports(__name__, _WHERE)
