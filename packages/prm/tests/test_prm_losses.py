"""The losses at forks and over tokens against plain computations, path by path."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from eduprm.core.registry import names
from eduprm.prm.loading import load_language_model
from eduprm.prm.losses.fork import Loss as ForkLoss
from eduprm.prm.losses.language_model import Loss as LanguageModelLoss
from eduprm.prm.losses.ranking import Loss as RankingLoss
from eduprm.prm.model import language_model_output, packed_hidden, to_tensors
from eduprm.prm.packing import fit_rows, pack_rows
from eduprm.prm.step_loss import load_losses
from eduprm.prm.testing import tiny_backbone
from eduprm.prm.tree import build_tree
from eduprm.prm.tree_cuts import split_tree, truncate_tree
from eduprm.prm.vocabulary import VocabularyLogits

POLICIES = {
    "llama": {},
    "qwen2": {},
    "cohere": {"logit_scale": 0.3},
    "gemma2": {"final_logit_softcapping": 2.0},
}


@pytest.fixture(scope="module", params=POLICIES)
def policy(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    tiny_backbone(folder, architecture=request.param, **POLICIES[request.param])
    return load_language_model(folder).eval()


@pytest.mark.parametrize("name", names("eduprm.prm.losses"))
def test_a_micro_batch_without_places_has_gradients_of_nothing(policy, name):
    """Processes wait for each other's gradients of all weights, also where fewer micro-batches came than processes."""
    [(loss, _)] = load_losses({name: 1.0})
    batch = to_tensors(pack_rows([], [], pad_id=0))
    batch["reference_logprobs"] = torch.zeros(batch["input_ids"].shape)
    labels = getattr(loss, "labels", ("wrong", "right"))
    output = torch.nn.Linear(32, len(labels)) if loss.needs == "head" else language_model_output(policy)
    hidden = packed_hidden(policy, batch).detach().requires_grad_()
    total = loss.total(hidden, output, batch)
    assert float(loss.weight(batch)) == 0
    for gradient in torch.autograd.grad(total, [hidden, *output.parameters()]):
        assert not gradient.any()


def packed(model, trees, rows, function):
    batch = to_tensors(pack_rows(trees, rows, pad_id=0))
    return function.total(packed_hidden(model, batch), language_model_output(model), batch), function.weight(
        batch
    )


def path_ids(tree, node):
    ids = []
    while node >= 0:
        ids = [*tree.token_ids[tree.starts[node] : tree.starts[node + 1]].tolist(), *ids]
        node = int(tree.parents[node])
    return [*tree.token_ids[: tree.starts[0]].tolist(), *ids]


def next_log_probs(model, ids):
    return model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)


def unpacked_forks(model, tree):
    """Each fork on its own: the plain path to it, its children's first tokens."""
    total, weight = torch.zeros(()), 0.0
    for node in range(-1, len(tree.parents)):
        children = [child for child in np.flatnonzero(tree.parents == node) if tree.lengths[child]]
        values = {}
        for child in children:
            values.setdefault(int(tree.token_ids[tree.starts[child]]), []).append(float(tree.targets[child]))
        means = {token: sum(own) / len(own) for token, own in values.items()}
        if len(means) < 2 or max(means.values()) - min(means.values()) < 1e-6:
            continue
        logits = model(input_ids=torch.tensor([path_ids(tree, node)])).logits[0, -1]
        own = logits[list(means)].log_softmax(-1)
        total = total - (own * torch.tensor(list(means.values()))).sum()
        weight += sum(means.values())
    return total, weight


def unpacked_tokens(model, tree):
    total, weight = torch.zeros(()), 0.0
    for node in range(len(tree.parents)):
        ids = path_ids(tree, node)
        for offset in range(tree.lengths[node]):
            before = ids[: len(ids) - int(tree.lengths[node]) + offset]
            total = total - float(tree.targets[node]) * next_log_probs(model, before)[ids[len(before)]]
            weight += float(tree.targets[node])
    return total, weight


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(
    ("function", "plain"), [(ForkLoss(), unpacked_forks), (LanguageModelLoss(), unpacked_tokens)]
)
def test_packed_losses_and_gradients_equal_path_by_path(policy, make_tree, function, plain):
    trees = [make_tree(seed, num_nodes=nodes) for seed, nodes in [(1, 9), (4, 5), (6, 12)]]
    ours, weight = packed(policy, trees, [[0, 2], [1]], function)
    parts = [plain(policy, tree) for tree in trees]
    reference = sum(part for part, _ in parts)
    assert weight.item() == pytest.approx(sum(own for _, own in parts), rel=1e-5)
    assert weight.item() > 1
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)
    theirs = gradients(policy, reference)
    for name, gradient in gradients(policy, ours).items():
        assert (gradient - theirs[name]).abs().max() < 1e-4 * max(1.0, theirs[name].abs().max().item()), name


def test_a_fork_of_three_by_hand():
    """Logits 2, 1, 0 for siblings of value 1, .5 and 0: the normaliser is ln(e^2 + e + 1)."""
    tree = build_tree([9], [[0], [1], [2]], [-1, -1, -1], targets=[1.0, 0.5, 0.0])
    batch = to_tensors(pack_rows([tree], [[0]], pad_id=0))
    embedding = torch.nn.Linear(1, 10, bias=False)
    with torch.no_grad():
        embedding.weight.copy_(torch.tensor([[2.0], [1.0], [0.0], *[[7.0]] * 7]))
    normaliser = math.log(math.exp(2) + math.exp(1) + 1)
    expected = 1.0 * (normaliser - 2) + 0.5 * (normaliser - 1)
    ours = ForkLoss().total(torch.ones(1, 4, 1), VocabularyLogits(embedding), batch)
    assert ours.item() == pytest.approx(expected, rel=1e-6)
    assert ForkLoss().weight(batch).item() == pytest.approx(1.5)


def test_equal_values_and_single_children_prefer_nothing(policy):
    tree = build_tree([9, 8], [[0], [1], [3], [2]], [-1, 0, 1, 0], targets=[0.5, 0.5, 1.0, 0.5])
    ours, weight = packed(policy, [tree], [[0]], ForkLoss())
    assert ours.item() == 0.0
    assert weight.item() == 0.0
    ours.backward()  # a step without forks still has a gradient to give


def test_children_that_begin_alike_are_one_choice_and_empty_nodes_are_looked_through():
    tree = build_tree([9], [[], [1, 2], [1, 3], [], [4]], [-1, 0, 0, 0, 3], targets=[0.5, 1.0, 0.0, 0.2, 0.2])
    assert tree.forks.nodes.tolist() == [-1, -1]
    assert tree.forks.tokens.tolist() == [1, 4]
    assert tree.forks.values.tolist() == pytest.approx([0.5, 0.2])


def test_nodes_without_a_label_take_no_part(policy):
    tree = build_tree([9], [[1], [2], [3]], [-1, -1, -1], targets=[1.0, 0.0, np.nan], weights=[1, 1, 1])
    assert tree.forks.tokens.tolist() == [1, 2]
    batch = to_tensors(pack_rows([tree], [[0]], pad_id=0))
    assert batch["node_weights"].tolist() == [1.0, 1.0, 0.0]
    assert torch.isfinite(packed(policy, [tree], [[0]], LanguageModelLoss())[0])


@pytest.mark.parametrize("function", [ForkLoss(), LanguageModelLoss()])
def test_a_split_tree_has_the_losses_of_the_whole(policy, make_tree, function):
    tree = make_tree(13, num_nodes=16)
    pieces = split_tree(tree, 30)
    assert len(pieces) > 2
    whole, weight = packed(policy, [tree], [[0]], function)
    rows = fit_rows([piece.num_tokens for piece in pieces], 64)
    ours, own = packed(policy, pieces, rows, function)
    assert own.item() == pytest.approx(weight.item(), rel=1e-5)
    assert ours.item() == pytest.approx(whole.item(), rel=1e-5)


TOKENS_AND_FORKS = [ForkLoss(), LanguageModelLoss()]


def scaled(tree, scales):
    nodes = [tree.token_ids[a:b] for a, b in zip(tree.starts[:-1], tree.starts[1:], strict=True)]
    prompt = tree.token_ids[: tree.starts[0]]
    return build_tree(prompt, nodes, tree.parents, targets=tree.targets, weights=tree.weights, scales=scales)


@pytest.mark.parametrize("function", TOKENS_AND_FORKS)
def test_a_question_counts_by_its_scale(policy, make_tree, function):
    first, second = make_tree(1, num_nodes=9), make_tree(4, num_nodes=7)
    (ours, weight), (own, own_weight) = (packed(policy, [one], [[0]], function) for one in (first, second))
    both, total = packed(policy, [first, scaled(second, np.full(7, 3.0))], [[0, 1]], function)
    assert total.item() == pytest.approx(weight.item() + 3 * own_weight.item(), rel=1e-5)
    assert both.item() == pytest.approx(ours.item() + 3 * own.item(), rel=1e-5)


@pytest.mark.parametrize("function", TOKENS_AND_FORKS)
def test_a_solution_left_out_is_as_if_it_were_not_there(policy, function):
    ids, parents, targets = [[1, 2], [3], [4], [5]], [-1, 0, 0, 0], [0.5, 1.0, 1.0, 0.25]
    less = build_tree([9], [*ids[:2], ids[3]], [-1, 0, 0], targets=[0.5, 1.0, 0.25])
    tree = build_tree([9], ids, parents, targets=targets, scales=[1, 1, 0, 1])
    ours, own = (packed(policy, [one], [[0]], function) for one in (tree, less))
    assert ours[1].item() == pytest.approx(own[1].item())
    assert ours[0].item() == pytest.approx(own[0].item(), rel=1e-5)
    assert own[1].item() > 1
    # Of a fork of two one is left out: nothing is preferred any more.
    alone = build_tree([9], ids[:3], parents[:3], targets=[0.5, 1.0, 0.0], scales=[0.5, 1, 0])
    assert alone.forks.nodes.tolist() == []
    assert alone.token_values.tolist() == [0, 0.25, 0.25, 1, 0]


def test_choices_that_begin_alike_count_by_their_scales():
    tree = build_tree([9], [[1, 2], [1, 3], [4]], [-1, -1, -1], targets=[1.0, 0.0, 0.0], scales=[1, 3, 1])
    assert tree.forks.values.tolist() == [0.25, 0.0]
    assert tree.forks.scales.tolist() == [2.0, 1.0]


def test_siblings_are_ranked_by_the_lesser_scale():
    tree = build_tree([9], [[0], [1], [2]], [-1, -1, -1], targets=[1.0, 0.5, 0.0], scales=[2.0, 1.0, 0.0])
    batch = to_tensors(pack_rows([tree], [[0]], pad_id=0))
    assert RankingLoss().weight(batch).item() == 0.5  # of the first two; the third is left out
    head = torch.nn.Linear(3, 2)
    assert RankingLoss().total(torch.zeros(1, 4, 3), head, batch).item() == pytest.approx(0.5 * math.log(2))


def test_solutions_that_are_all_wrong_have_a_backward_pass(policy):
    tree = build_tree([9], [[1, 2], [3]], [-1, -1], targets=[0.0, 0.0])
    ours, weight = packed(policy, [tree], [[0]], LanguageModelLoss())
    assert (ours.item(), weight.item()) == (0.0, 0.0)
    assert all((gradient == 0).all() for gradient in gradients(policy, ours).values())


def test_a_fork_outlives_its_cut_branches():
    ids = [[1], [2], [3], [4, 4, 4], [5]]
    tree = build_tree([9], ids, [-1, 0, 1, 1, 0], targets=[0.5, 0.5, 1.0, 0.0, 0.25])
    assert tree.forks.nodes.tolist() == [0, 0, 1, 1]
    cut = truncate_tree(
        tree, 4
    )  # the node of three tokens goes; that it was a choice, and a bad one, stays known
    assert cut.rows.tolist() == [0, 1, 2, 4]
    assert cut.forks.nodes.tolist() == [0, 0, 1, 1]
    assert cut.forks.tokens.tolist() == [2, 5, 3, 4]
    assert truncate_tree(tree, 2).forks.nodes.tolist() == [0, 0]


def test_parents_are_the_tokens_before_on_each_path(make_tree):
    tree = make_tree(5, num_nodes=14)
    for node in range(len(tree.parents)):
        ids, place, back = path_ids(tree, node), int(tree.last_tokens[node]), []
        while place >= 0:
            back.append(int(tree.token_ids[place]))
            place = int(tree.token_parents[place])
        assert back[::-1] == ids


def test_ranking_compares_siblings_alone():
    generator = torch.Generator().manual_seed(3)
    first = build_tree(
        [9], [[1], [2, 5], [3], [4], [6]], [-1, 0, 0, 2, -1], targets=[0.6, 1.0, 0.2, 0.2, 0.1]
    )
    second = build_tree([9], [[1], [2], [3]], [-1, -1, -1], targets=[0.5, 0.5, np.nan], weights=[1, 1, 1])
    batch = to_tensors(pack_rows([first, second], [[0, 1]], pad_id=0))
    hidden = torch.randn(1, batch["input_ids"].shape[1], 4, generator=generator)
    head = torch.nn.Linear(4, 2)
    scores = head(hidden)[0].detach()
    margins = [float(scores[column, 1] - scores[column, 0]) for column in batch["node_columns"]]
    # Nodes 1 and 2 hang on 0, nodes 0 and 4 on the prompt; 3 has no sibling, and the second tree prefers nothing.
    pairs = [(1, 2, 0.8), (0, 4, 0.5)]
    by_hand = sum(
        gap * math.log1p(math.exp(margins[worse] - margins[better])) for better, worse, gap in pairs
    )
    ours = RankingLoss().total(hidden, head, batch)
    assert ours.item() == pytest.approx(by_hand, rel=1e-5)
    assert RankingLoss().weight(batch).item() == pytest.approx(1.3)
    ours.backward()
    assert head.weight.grad.isfinite().all()


def test_ranking_without_siblings_weighs_nothing():
    batch = to_tensors(pack_rows([build_tree([9], [[1], [2]], [-1, 0], targets=[0.5, 0.9])], [[0]], pad_id=0))
    head = torch.nn.Linear(4, 2)
    total = RankingLoss().total(torch.zeros(1, batch["input_ids"].shape[1], 4), head, batch)
    assert (total.item(), RankingLoss().weight(batch).item()) == (0.0, 0.0)
    total.backward()  # a step without pairs still has a gradient to give
