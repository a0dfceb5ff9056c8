"""Packed trees must compute what path-by-path training computes: loss, gradients and scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eduprm.prm.losses.cross_entropy import Loss
from eduprm.prm.model import head_output, packed_hidden, packed_logits, to_tensors
from eduprm.prm.packing import choose_rows, fit_rows, pack_rows
from eduprm.prm.tree import build_tree
from eduprm.prm.tree_cuts import split_tree
from eduprm.prm.unpacked import leaf_chains

TOLERANCE = 1e-5


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def packed_loss(model, trees, rows):
    batch = to_tensors(pack_rows(trees, rows, pad_id=0))
    total = sum(float(tree.weights.sum()) for tree in trees)
    return Loss().total(packed_hidden(model, batch), head_output(model), batch) / total


def unpacked_loss(model, trees):
    """The plain reference: each root-to-leaf path is one ordinary causal row, read by transformers itself."""
    total = sum(float(tree.weights.sum()) for tree in trees)
    loss = torch.zeros(())
    for tree in trees:
        for chain in leaf_chains(tree):
            logits = model(input_ids=torch.from_numpy(chain.token_ids.astype(np.int64))[None]).logits[0]
            log_probs = logits.log_softmax(-1)
            for node in range(len(chain.parents)):
                wrong, right = log_probs[chain.starts[node + 1] - 1]
                value, weight = float(chain.targets[node]), float(chain.weights[node])
                loss = loss - weight * ((1 - value) * wrong + value * right)
    return loss / total


def assert_same(model, ours, reference):
    assert abs(ours.item() - reference.item()) < TOLERANCE
    theirs = gradients(model, reference)
    for name, gradient in gradients(model, ours).items():
        assert (gradient - theirs[name]).abs().max() < TOLERANCE, name
    assert max(gradient.abs().max() for gradient in theirs.values()) > 1e-3  # the comparison is not of zeros


CASES = {
    "one ragged tree": [(1, 9, False)],
    "single chain": [(2, 6, True)],
    "one node": [(3, 1, True)],
    "ragged trees of many sizes": [(4, 3, False), (5, 14, False), (6, 7, False), (7, 2, True)],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", ["row each", "one row", "chosen"])
def test_loss_and_gradients_equal_every_path_on_its_own(classifier, make_tree, case, layout):
    trees = [make_tree(seed, num_nodes=nodes, chain=chain) for seed, nodes, chain in CASES[case]]
    lengths = [tree.num_tokens for tree in trees]
    rows = {
        "row each": [[index] for index in range(len(trees))],  # padded to the longest
        "one row": [list(range(len(trees)))],
        "chosen": choose_rows(lengths),
    }[layout]
    assert_same(classifier, packed_loss(classifier, trees, rows), unpacked_loss(classifier, trees))


def test_node_weight_one_equals_each_node_once(classifier, make_tree):
    tree = make_tree(11, num_nodes=10)
    tree.weights[:] = 1.0
    assert_same(classifier, packed_loss(classifier, [tree], [[0]]), unpacked_loss(classifier, [tree]))


def test_leaf_weights_equal_training_on_all_paths(classifier, make_tree):
    """Leaf-count weights: every path is a row, every step on it weighs 1."""
    tree = make_tree(12, num_nodes=10)
    chains = leaf_chains(tree)
    for chain in chains:
        assert np.allclose(chain.weights, 1.0)
    every_path = packed_loss(classifier, chains, [[index] for index in range(len(chains))])
    assert_same(classifier, packed_loss(classifier, [tree], [[0]]), every_path)


def test_a_split_tree_has_the_loss_of_the_whole(classifier, make_tree):
    tree = make_tree(13, num_nodes=16)
    pieces = split_tree(tree, 30)
    assert len(pieces) > 2
    assert sum(piece.weights.sum() for piece in pieces) == pytest.approx(tree.weights.sum())
    rows = fit_rows([piece.num_tokens for piece in pieces], 64)
    assert_same(classifier, packed_loss(classifier, pieces, rows), packed_loss(classifier, [tree], [[0]]))


def test_eager_attention_equals_sdpa(classifier, make_tree):
    trees = [make_tree(14, num_nodes=8), make_tree(15, num_nodes=4)]
    sdpa = packed_loss(classifier, trees, [[0, 1]])
    classifier.set_attn_implementation("eager")
    try:
        eager = packed_loss(classifier, trees, [[0, 1]])
    finally:
        classifier.set_attn_implementation("sdpa")
    assert_same(classifier, eager, sdpa)


def test_a_wrong_mask_is_noticed(classifier, make_tree, monkeypatch):
    """The comparison can fail: plain causal attention over the packed row gives another loss."""
    tree = make_tree(1, num_nodes=9)
    monkeypatch.setattr("eduprm.prm.model.attention_inputs", lambda batch, **_: {"attention_mask": None})
    difference = packed_loss(classifier, [tree], [[0]]) - unpacked_loss(classifier, [tree])
    assert abs(difference.item()) > 100 * TOLERANCE


def test_hidden_states_and_head_are_the_models_own_logits(classifier, make_tree):
    batch = to_tensors(pack_rows([make_tree(16), make_tree(17)], [[0, 1]], pad_id=0))
    ours = head_output(classifier)(packed_hidden(classifier, batch))
    assert torch.equal(ours, packed_logits(classifier, batch))


def test_two_roots_under_one_prompt(classifier):
    tree = build_tree([1, 2], [[3], [4, 5], [6]], [-1, 0, -1], targets=[1, 0, 0.5])
    assert_same(classifier, packed_loss(classifier, [tree], [[0]]), unpacked_loss(classifier, [tree]))
