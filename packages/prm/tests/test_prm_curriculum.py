"""The curriculum of a frozen PRM: hardness and draws by hand, what falling temperatures do, resuming."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eduprm.prm import train_prm
from eduprm.prm.config import TrainConfig
from eduprm.prm.curricula.frozen_prm import Curriculum, _ranks, draws, hardness
from eduprm.prm.curricula.none import shuffled
from eduprm.prm.data import TrainingData
from eduprm.prm.testing import tiny_prm
from eduprm.prm.trainer import PrmTrainer
from eduprm.prm.tree import build_tree
from eduprm.prm.tree_cuts import split_tree

FAST = {"learning_rate": 1e-2, "warmup": 0.0, "batch_tokens": 64, "curriculum": "frozen_prm"}


@pytest.fixture
def data(make_tree):
    return TrainingData([make_tree(seed, num_nodes=3 + seed) for seed in range(5)])


def test_hardness_by_hand():
    # Labels 1 (weight 2) and 0 (weight 1), scores .5 and .5: (2 * .25 + .25) / 3. A node of weight 0 counts nowhere.
    tree = build_tree([7], [[1], [2], [3]], [-1, 0, 1], name="a", targets=[1, 0, 1], weights=[2, 1, 0])
    assert hardness([tree], [np.array([0.5, 0.5, 0.0])]) == {"a": pytest.approx(0.25)}
    assert hardness([tree], [np.array([1.0, 1.0, 0.0])]) == {"a": pytest.approx(1 / 3)}


def test_parts_of_a_tree_are_as_hard_as_the_whole(make_tree):
    tree = make_tree(3, num_nodes=12)
    scores = np.linspace(0, 1, 12)
    parts = split_tree(tree, 20)
    assert len(parts) > 1
    own = [scores[part.rows] for part in parts]
    assert hardness(parts, own) == {tree.name: pytest.approx(hardness([tree], [scores])[tree.name])}


def test_draws_by_hand():
    # exp(rank / T) of ranks 0 and 1 at T = 1 / ln 3: 1 to 3, so the second is drawn three times in four.
    found = draws(np.array([0.0, 1.0]), count=4000, seed=1, start=1 / np.log(3), end=1 / np.log(3))
    assert found.mean() == pytest.approx(0.75, abs=0.02)
    assert _ranks(np.array([0.3, 0.1, 0.3])).tolist() == [0.75, 0.0, 0.75]


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 40), seed=st.integers(0, 99))
def test_draws_repeat_and_grow_harder(count, seed):
    ranks = np.random.default_rng(seed).permutation(count) / (count - 1)
    found = draws(ranks, count=2000, seed=seed, start=100.0, end=0.05)
    assert (found == draws(ranks, count=2000, seed=seed, start=100.0, end=0.05)).all()
    assert set(found) <= set(range(count))
    first, last = ranks[found[:400]].mean(), ranks[found[-400:]].mean()
    assert abs(first - 0.5) < 0.12  # nearly all alike
    assert last > first + 0.1


def test_the_draws_are_of_trees_whatever_their_parts(data, builder, tmp_path):
    folder = tiny_prm(tmp_path / "m", input_format=builder.format)
    given_ = {"epochs": 2, "seed": 3, "backbone": folder, "builder": builder}
    whole = Curriculum().orders(data.trees, **given_)
    assert [len(order) for order in whole] == [5, 5]
    pieces = [piece for tree in data.trees for piece in split_tree(tree, 24)]
    assert len(pieces) > 5
    parts = Curriculum().orders(pieces, **given_)
    names = [
        [name for k, name in enumerate(own) if k == 0 or name != own[k - 1]]
        for own in ([pieces[item].name for item in order] for order in parts)
    ]
    expected = [
        [name for k, name in enumerate(own) if k == 0 or name != own[k - 1]]
        for own in ([data.trees[item].name for item in order] for order in whole)
    ]
    assert names == expected
    assert whole != shuffled(5, epochs=2, seed=3)


def test_a_killed_training_goes_on_with_the_same_draws(backbone, data, builder, tmp_path, monkeypatch):
    frozen = str(tiny_prm(tmp_path / "m", input_format=builder.format))
    config = TrainConfig(
        **FAST, epochs=3, batch_trees=1, save_steps=2, curriculum_options={"prm": frozen, "end": 0.1}
    )

    def run(name):
        return train_prm(backbone, data, builder, tmp_path / name, config=config, progress=False)

    def digest(folder):
        return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    whole = run("whole")
    step, calls = PrmTrainer.training_step, []

    def dies(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(PrmTrainer, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        run("killed")
    resumed = run("killed")
    assert resumed.resumed_from_step == 6
    assert digest(resumed.folder) == digest(whole.folder)
    assert resumed.losses == whole.losses
    plain = TrainConfig(**{**FAST, "curriculum": "none"}, epochs=3, batch_trees=1)
    other = train_prm(backbone, data, builder, tmp_path / "plain", config=plain, progress=False)
    assert digest(other.folder) != digest(whole.folder)


def test_what_cannot_be_is_said(backbone, data, builder, tmp_path):
    with pytest.raises(ValueError, match=r"expected one of frozen_prm, none or package\.module:Curriculum"):
        TrainConfig(curriculum="easy_first")
    with pytest.raises(ValueError, match="expected no options, got 'end'"):
        TrainConfig(curriculum_options={"end": 0.5})
    config = TrainConfig(**FAST)  # by default the backbone, which is no PRM
    with pytest.raises(ValueError, match="without"):
        train_prm(backbone, data, builder, tmp_path / "out", config=config, progress=False)
    chat = str(tiny_prm(tmp_path / "chat"))
    config = TrainConfig(**FAST, curriculum_options={"prm": chat})
    with pytest.raises(ValueError, match="reads problems and steps as the one in training"):
        train_prm(backbone, data, builder, tmp_path / "out", config=config, progress=False)
