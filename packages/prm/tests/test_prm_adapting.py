"""Test-time steps: the tree of votes by hand, what they change, and that nothing of them stays."""

from __future__ import annotations

import pytest
import torch

from eduprm.prm import ProcessRewardModel
from eduprm.prm.adapting import adapted, voted_tree
from eduprm.prm.config import Scoring
from eduprm.prm.testing import tiny_backbone, tiny_prm

PROMPT = [50, 51, 61]
GOOD, BAD = [[52, 53], [54, 10]], [[52, 53], [60, 10]]


def opened(tmp_path, kind, dtype="float32"):
    folder = tiny_prm(tmp_path / "m") if kind == "head" else tiny_backbone(tmp_path / "m")
    return ProcessRewardModel.from_pretrained(folder, "cpu", dtype, scoring=Scoring(kind=kind))


def test_the_tree_of_votes_by_hand():
    # A ends where B goes on; C shares one token with both.
    tree = voted_tree([(PROMPT, [[1], [2]]), (PROMPT, [[1, 2], [3]]), (PROMPT, [[1, 4]])], [1, 0, 0.5])
    # 1 of all three (mean 1/2), then 2 3 (B's at its end), then 4.
    assert tree.token_ids.tolist() == [*PROMPT, 1, 2, 3, 4]
    assert tree.targets.tolist() == [0.5, 0.0, 0.5]
    assert tree.weights.tolist() == [3.0, 1.0, 1.0]
    assert tree.forks.values.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["head", "likelihood"])
def test_the_step_moves_scores_towards_the_votes_and_leaves_no_bit_behind(tmp_path, kind, dtype):
    prm = opened(tmp_path, kind, dtype)
    model = prm.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kinds = [(name, type(module)) for name, module in model.named_modules()]
    grads = [parameter.requires_grad for parameter in model.parameters()]
    items = [(PROMPT, GOOD), (PROMPT, BAD)]
    plain = prm.score_ids(items)
    state = torch.random.get_rng_state()
    found = []
    for _ in range(2):
        with adapted(prm, voted_tree(items, [1.0, 0.0]), steps=3, learning_rate=1e-2) as changed:
            found.append(changed.score_ids(items))
    assert found[0] == found[1]  # from the same state, the same
    good, bad = (new[-1] - old[-1] for new, old in zip(found[0], plain, strict=True))
    assert good > bad
    assert abs(good - bad) > 1e-3
    assert prm.model is model
    assert prm.score_ids(items) == plain
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [(name, type(module)) for name, module in model.named_modules()] == kinds
    assert [parameter.requires_grad for parameter in model.parameters()] == grads
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not hasattr(model, "peft_config")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_fault_inside_leaves_the_model_as_it_was(tmp_path):
    prm = opened(tmp_path, "head")
    items = [(PROMPT, GOOD), (PROMPT, BAD)]
    plain = prm.score_ids(items)
    with (
        pytest.raises(RuntimeError, match="inside"),
        adapted(prm, voted_tree(items, [1, 0]), learning_rate=0.1),
    ):
        raise RuntimeError("inside")
    assert prm.score_ids(items) == plain


def test_a_tree_in_pieces_gives_the_same_step(tmp_path):
    prm = opened(tmp_path, "head")
    items = [(PROMPT, GOOD), (PROMPT, BAD)]
    tree = voted_tree(items, [1, 0])
    scores = []
    for size in (8192, 7):
        prm.batch_tokens = size
        with adapted(prm, tree, learning_rate=1e-2) as changed:
            scores.append(changed.score_ids(items))
    assert [pytest.approx(own, abs=1e-4) for own in scores[0]] == scores[1]
