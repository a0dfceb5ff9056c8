"""Every option of labels through every loss: it changes the gradient or is said not to, and what is wrong is refused.

Losses, rules, weights and filters are listed from their folders, so a new one is tried here without a line.
"""

from __future__ import annotations

import itertools
from typing import Any

import polars as pl
import pytest
import torch

from eduprm.core.registry import load, names
from eduprm.forest import NODE_SCHEMA
from eduprm.label import filter_rows, weigh_questions
from eduprm.label.judges.scores import COLUMN
from eduprm.pipeline.label_trees import label_steps
from eduprm.pipeline.settings import TrainSettings
from eduprm.pipeline.settings_parts import LabelSettings, PrmSettings
from eduprm.pipeline.start_checks import unread_labels
from eduprm.pipeline.train_prm import _weighed
from eduprm.prm import InputBuilder, InputFormat, TrainConfig, labelled_trees, train_prm
from eduprm.prm.adapters import prepare_model, trained_outputs
from eduprm.prm.config import LoraSettings, Scoring
from eduprm.prm.data import TrainingData
from eduprm.prm.loading import LABELS
from eduprm.prm.model import packed_hidden, to_tensors
from eduprm.prm.packing import pack_rows
from eduprm.prm.reference import reference_logprobs
from eduprm.prm.step_loss import load_losses, loss_weights, step_loss
from eduprm.prm.testing import byte_tokenizer, tiny_backbone

# parent, text, log-prob, answer (of leaves; 20, 2 and 7 are right), score of a judge, whether a step ends with it
TREES = {
    "mixed": [
        (None, "2 + 3 = 5\n", -0.1, None, 0.9, True),
        (0, "5 *", -0.2, None, 0.8, False),
        (1, " 4 = 20\n#### 20", -0.3, "20", 0.9, True),
        (1, " 4 = 21\n#### 21", -1.5, "21", 0.2, True),
        (0, "+ 4 = 9\n", -1.0, None, 0.6, True),
        (4, "#### 9", -0.1, "9", 0.5, True),
        (4, "9 * 2 = 18\n", -0.7, None, 0.7, True),
        (6, "#### 20", -0.2, "20", 0.7, True),
        (6, "= 3 * 6\n#### 18", -1.2, "18", 0.6, True),
        (4, "so it is 7", -2.0, "9", 0.6, True),
    ],
    "even": [
        (None, "1 + 1 = 2\n", -0.1, None, 0.9, True),
        (0, "#### 2", -0.2, "2", 0.9, True),
        (0, "2 + 1 = 4\n#### 4", -0.9, "4", 0.1, True),
    ],
    "wrong": [
        (None, "7 - 1 = 6\n", -0.1, None, 0.9, True),
        (0, "#### 6", -0.2, "6", 0.9, True),
        (0, "6 + 1 = 8\n#### 8", -0.9, "8", 0.1, True),
    ],
    "right": [
        (None, "8 - 1 = 7\n", -0.1, None, 0.9, True),
        (0, "#### 7", -0.2, "7", 0.9, True),
        (0, "7 = 7\n#### 7", -0.9, "7", 0.9, True),
    ],
}
RIGHT = {"mixed": "20", "even": "2", "wrong": "none", "right": "7"}
PROBLEMS = pl.DataFrame({"problem_id": list(TREES), "question": [f"{name}?" for name in TREES]})
BY_SCORES = {"judge": "scores", "judge_options": {"threshold": 0.65}}
OPTIONS: list[dict[str, Any]] = [
    {"target": "hard"},
    {"target": "hard", "hard_threshold": 0.4},
    {"node_weight": "one"},
    *({"rule": name} for name in names("eduprm.label.rules") if name != "uniform"),
    *({"weights": name} for name in names("eduprm.label.weights") if name != "one"),
    *({"filter": name} for name in names("eduprm.label.filters")),
    {"filter": "consensus", "filter_options": BY_SCORES, "judge_prm": "some"},
]
TINY = {"lora": LoraSettings(rank=2), "warmup": 0.0, "max_grad_norm": 0.0}
LOSSES = names("eduprm.prm.losses")


def labelled(**chosen: Any) -> pl.DataFrame:
    """The training trees as stages `label` and `prm` make them of these settings."""
    rows, ends, scores, graded = [], [], [], []
    for problem, nodes in TREES.items():
        inner = {node[0] for node in nodes}
        for place, (above, text, logprob, answer, score, end) in enumerate(nodes):
            ids = byte_tokenizer().encode(text)
            numbers = [logprob / len(ids)] * len(ids), [0.5] * len(ids)
            finish = None if place in inner else "stop"
            rows.append((problem, "edu", place, above, ids, *numbers, text, finish))
            ends.append(end)
            scores.append(score if end else None)
            if place not in inner:
                graded.append((problem, "edu", place, answer, answer == RIGHT[problem]))
    leaves = pl.DataFrame(
        graded, schema=["problem_id", "tree", "leaf", "answer", "correct"], orient="row"
    ).cast({"leaf": pl.Int32})
    label = LabelSettings(**chosen)
    own = label.model_dump(include={"rule", "rule_options", "target", "hard_threshold", "node_weight"})
    forest = pl.DataFrame(rows, schema=NODE_SCHEMA, orient="row")
    trees = label_steps(forest, pl.Series(ends), leaves, **own).with_columns(pl.Series(COLUMN, scores))
    if label.filter is not None:
        trees = filter_rows(trees, filter=label.filter, options=label.filter_options)
    return _weighed(
        weigh_questions(trees, leaves, weights=label.weights, options=label.weights_options), label
    )


def data(**chosen: Any) -> TrainingData:
    return labelled_trees(labelled(**chosen), PROBLEMS, builder())


def builder() -> InputBuilder:
    return InputBuilder(byte_tokenizer(), InputFormat(kind="plain", template="{problem}="))


def config(loss: str, **options: Any) -> TrainConfig:
    """One that trains this loss alone, with the first scorer that goes with it."""
    for kind in (*[one for one in names("eduprm.prm.scorers") if one == loss], "head", "likelihood"):
        chosen = TrainConfig(losses={loss: 1.0}, scoring=Scoring(kind=kind), **{**TINY, **options})
        try:
            trained_outputs(chosen)
        except ValueError:
            continue
        return chosen
    raise AssertionError(f"no scorer goes with {loss}")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp("tiny"))


def prepared(backbone, loss: str, **options: Any) -> Any:
    """A model to train, in the midst of training: adapters and head are not 0."""
    model = prepare_model(backbone, config(loss, **options), trust_remote_code=False)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(std=0.1, generator=generator)
    return model


def gradient(model: Any, loss: str, found: TrainingData, *, together: bool = True) -> torch.Tensor:
    """Of one optimiser step: all trees in a micro-batch, or each in one of its own."""
    losses = load_losses({loss: 1.0})
    groups = [found.trees] if together else [[tree] for tree in found.trees]
    batches = [to_tensors(pack_rows(trees, [[*range(len(trees))]], pad_id=0)) for trees in groups]
    totals = torch.stack([loss_weights(losses, batch) for batch in batches]).sum(0)
    model.zero_grad()
    half = next(model.parameters()).dtype == torch.bfloat16
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            if any(getattr(one, "reference", False) for one, _ in losses):
                batch = {**batch, "reference_logprobs": reference_logprobs(model, batch)}
            part = step_loss(losses, model, packed_hidden(model, batch), batch, totals)
        assert part.isfinite()
        part.backward()
    parts = [own.grad.flatten() for own in model.parameters() if own.grad is not None]
    assert all(own.isfinite().all() for own in parts)
    return torch.cat(parts).float()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / one.norm().clamp_min(1e-9))


@pytest.mark.parametrize("loss", LOSSES)
def test_each_option_of_labels_changes_a_loss_or_is_said_not_to(backbone, loss):
    model = prepared(backbone, loss)
    plain = gradient(model, loss, data())
    assert plain.norm() > 1e-3
    for options in OPTIONS:
        settings = TrainSettings(_cli_parse_args=[], label=LabelSettings(**options)).model_copy(
            update={"prm": PrmSettings(train=config(loss))}
        )  # given at once, losses join the default's
        said = unread_labels(settings)
        changed = apart(plain, gradient(model, loss, data(**options))) > 1e-4
        assert changed != bool(said), (options, said)


@pytest.mark.parametrize("loss", LOSSES)
def test_all_labels_train_in_half_precision_and_in_micro_batches(backbone, loss):
    """A micro-batch may hold a question that is wrong, right or left out throughout."""
    whole, half = prepared(backbone, loss), prepared(backbone, loss, dtype="bfloat16")
    for options in ({}, {"target": "hard"}, {"rule": "rollouts", "weights": "east"}, {"filter": "consensus"}):
        found = data(**options)
        exact = gradient(whole, loss, found)
        assert apart(exact, gradient(half, loss, found)) < 0.3, options
        if loss != "nce_plus":  # whose draws follow from what a micro-batch holds
            assert apart(exact, gradient(whole, loss, found, together=False)) < 1e-5, options


@pytest.mark.parametrize("loss", [name for name in LOSSES if name not in ("nce_plus", "ranking")])
def test_a_tree_in_pieces_trains_the_same_where_some_pieces_have_no_labelled_step(backbone, tmp_path, loss):
    """By the rule `rollouts` the steps of rollouts weigh nothing; their tokens and forks count all the same."""
    found = data(rule="rollouts", node_weight="one")
    trained = [
        train_prm(backbone, found, builder(), tmp_path / name, config=config(loss, **cut), progress=False)
        for name, cut in (("whole", {}), ("cut", {"batch_tokens": 45, "accumulation": 40}))
    ]
    assert [len(one.losses) for one in trained] == [1, 1]
    assert trained[0].losses[0][1] == pytest.approx(trained[1].losses[0][1], rel=1e-4)


def test_what_no_loss_learns_from_is_refused_before_training(backbone, tmp_path):
    found = data(rule="rollouts")  # one solution a tree, and a solution has no sibling
    with pytest.raises(ValueError, match="the loss ranking weighs 0 on all trees and trains nothing"):
        train_prm(backbone, found, builder(), tmp_path / "m", config=config("ranking"), progress=False)
    assert not list(tmp_path.iterdir())


def test_scorers_go_with_losses_or_are_refused_in_a_line():
    heads = {
        name: getattr(load("eduprm.prm.losses", name, "Loss"), "labels", LABELS)
        for name in LOSSES
        if load("eduprm.prm.losses", name, "Loss").needs == "head"
    }
    for loss, kind in itertools.product(LOSSES, names("eduprm.prm.scorers")):
        scorer = load("eduprm.prm.scorers", kind, "Scorer")
        chosen = TrainConfig(losses={loss: 1.0}, scoring=Scoring(kind=kind))
        if (scorer.needs == "head") != (loss in heads) or (
            loss in heads and heads[loss] != getattr(scorer, "labels", LABELS)
        ):
            with pytest.raises(ValueError, match=r"^[^\n]*expected [^\n]*$"):
                trained_outputs(chosen)
        else:
            assert trained_outputs(chosen) == ({scorer.needs}, heads.get(loss, LABELS))


def test_a_threshold_of_hard_labels_is_of_hard_labels():
    with pytest.raises(
        ValueError, match=r"--label\.hard-threshold 0\.4: expected --label\.target hard beside it"
    ):
        LabelSettings(hard_threshold=0.4)
