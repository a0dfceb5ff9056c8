"""The implicit reward: against plain paths one by one, by hand, and from training to a folder that scores alone."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from eduprm.prm import InputBuilder, ProcessRewardModel, TrainConfig, train_prm
from eduprm.prm.adapters import add_lora, prepare_model
from eduprm.prm.config import InputFormat, LoraSettings, Scoring
from eduprm.prm.data import TrainingData
from eduprm.prm.loading import load_language_model
from eduprm.prm.losses.implicit import BETA, Loss
from eduprm.prm.model import language_model_output, packed_hidden, to_tensors
from eduprm.prm.packing import fit_rows, pack_rows
from eduprm.prm.reference import reference_logprobs
from eduprm.prm.testing import byte_tokenizer, ragged_tree
from eduprm.prm.tree import build_tree
from eduprm.prm.tree_cuts import split_tree

PLAIN = InputFormat(kind="plain", template="{problem}=")
STEPS = ["2*3 = 6\n", "6*4 = 24\n", "#### 24"]


@pytest.fixture(scope="module")
def models(backbone):
    """A model whose adapters say something, in float64, and the plain model below them."""
    torch.manual_seed(0)  # peft draws the other half of the adapters
    adapted = add_lora(load_language_model(backbone), LoraSettings(rank=4, alpha=8), last_layers=None)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=2.0, generator=generator)
    return adapted.double().eval(), load_language_model(backbone).double().eval()


def packed(model, trees, rows):
    batch = to_tensors(pack_rows(trees, rows, pad_id=0))
    batch["reference_logprobs"] = reference_logprobs(model, batch)
    loss = Loss()
    total = loss.total(packed_hidden(model, batch), language_model_output(model), batch)
    return total, loss.weight(batch)


def path_logprobs(model, tree, leaf):
    ids = []
    while leaf >= 0:
        ids = [*tree.token_ids[tree.starts[leaf] : tree.starts[leaf + 1]].tolist(), *ids]
        leaf = int(tree.parents[leaf])
    whole = torch.tensor([[*tree.token_ids[: tree.starts[0]].tolist(), *ids]])
    logprobs = model(input_ids=whole).logits[0].log_softmax(-1)
    return logprobs[torch.arange(whole.shape[1] - 1), whole[0, 1:]][tree.num_prompt_tokens - 1 :]


def unpacked(model, plain, tree):
    """Each leaf's path on its own, one causal row for the model and one for its reference."""
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    for leaf in tree.leaves.tolist():
        ratio = path_logprobs(model, tree, leaf).sum() - path_logprobs(plain, tree, leaf).sum().detach()
        right = torch.sigmoid(BETA * ratio)
        target, own = float(tree.targets[leaf]), float(tree.weights[leaf])
        total = total - own * (target * right.log() + (1 - target) * (1 - right).log())
        weight += own
    return total, weight


def test_packed_loss_and_gradients_equal_path_by_path(models):
    model, plain = models
    trees = [ragged_tree(seed, num_nodes=nodes) for seed, nodes in [(1, 9), (4, 5), (6, 12)]]
    ours, weight = packed(model, trees, [[0, 2], [1]])
    parts = [unpacked(model, plain, tree) for tree in trees]
    reference = sum(part for part, _ in parts)
    assert weight.item() == pytest.approx(sum(own for _, own in parts))
    assert abs(ours.item() - math.log(2) * weight.item()) > 0.05  # the adapters matter
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)
    trained = [weight for name, weight in model.named_parameters() if "lora" in name]
    assert all(weight.requires_grad for weight in trained)  # as before the adapters were off
    for one, other in zip(
        torch.autograd.grad(ours, trained), torch.autograd.grad(reference, trained), strict=True
    ):
        assert (one - other).abs().max() < 1e-4 * max(1.0, other.abs().max().item())


def test_a_split_tree_has_the_loss_of_the_whole(models):
    tree = ragged_tree(13, num_nodes=16)
    pieces = split_tree(tree, 30)
    assert len(pieces) > 2
    whole, weight = packed(models[0], [tree], [[0]])
    ours, own = packed(models[0], pieces, fit_rows([piece.num_tokens for piece in pieces], 64))
    assert own.item() == weight.item()
    assert ours.item() == pytest.approx(whole.item(), rel=1e-5)


def test_two_leaves_behind_a_shared_node_by_hand():
    """ln pi is ln 1/4 for every token; the reference gives 1/2 on the trunk, 1/8 and 1/4 on the leaves."""
    tree = build_tree([3], [[0, 1], [2], [0]], [-1, 0, 0], targets=[0.5, 1.0, 0.0])
    batch = to_tensors(pack_rows([tree], [[0]], pad_id=0))
    batch["reference_logprobs"] = torch.tensor([[0.0, 0.5, 0.5, 0.125, 0.25]]).log()
    right, wrong = 2 * math.log(0.5) + math.log(2), 2 * math.log(0.5)
    by_hand = math.log(1 + math.exp(-BETA * right)) + math.log(1 + math.exp(BETA * wrong))
    total = Loss().total(torch.zeros(1, 5, 2), torch.nn.Linear(2, 4, bias=False), batch)
    assert total.item() == pytest.approx(by_hand, rel=1e-6)
    assert Loss().weight(batch).item() == 2.0


def config(**changes):
    default = {
        "losses": {"implicit": 1.0},
        "scoring": Scoring(kind="implicit"),
        "lora": LoraSettings(rank=4, alpha=8),
        "learning_rate": 2e-2,
        "epochs": 8,
        "batch_tokens": 256,
    }
    return TrainConfig(**default | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, backbone):
    builder = InputBuilder(byte_tokenizer(), PLAIN)
    data = TrainingData([ragged_tree(seed, num_nodes=9) for seed in range(6)])
    folder = tmp_path_factory.mktemp("implicit") / "prm"
    return train_prm(backbone, data, builder, folder, config=config(), progress=False)


def test_a_moved_folder_scores_by_the_ratio_to_the_model_before(trained, backbone, tmp_path):
    """Scored from a copy elsewhere: the reference is in the folder itself."""
    assert trained.losses[-1][1] < trained.losses[0][1] < math.log(2) + 1e-3
    moved = shutil.copytree(trained.folder, tmp_path / "moved")
    prm = ProcessRewardModel.from_pretrained(moved)
    after, before = (AutoModelForCausalLM.from_pretrained(path).eval() for path in (moved, backbone))
    prompt, steps = prm.builder.prompt_ids("2*3*4"), prm.builder.solution_ids(STEPS)
    tree = build_tree(prompt, steps, range(-1, len(steps) - 1))
    with torch.inference_mode():
        ratios = path_logprobs(after, tree, 2) - path_logprobs(before, tree, 2)
    rewards = [part.sum().item() for part in torch.split(ratios, [len(step) for step in steps])]
    expected = [1 / (1 + math.exp(-BETA * reward)) for reward in rewards]
    assert max(abs(reward) for reward in rewards) > 0.5
    assert prm.score("2*3*4", STEPS) == pytest.approx(expected, abs=2e-3)


def test_right_leaves_gained_on_wrong_ones(trained):
    prm = ProcessRewardModel.from_pretrained(trained.folder)
    right, wrong = [], []
    for seed in range(6):
        tree = ragged_tree(seed, num_nodes=9)
        scores = prm.score_trees([tree])[0]
        for leaf in tree.leaves.tolist():
            (right if tree.targets[leaf] > 0.5 else wrong).append(scores[leaf])
    assert np.mean(right) > np.mean(wrong)


def test_in_bfloat16_it_trains_as_well(backbone, builder, tmp_path):
    half = config(dtype="bfloat16", epochs=1)
    result = train_prm(
        backbone,
        TrainingData([ragged_tree(1, num_nodes=9)]),
        builder,
        tmp_path / "half",
        config=half,
        progress=False,
    )
    assert result.losses[0][1] == pytest.approx(math.log(2), abs=1e-3)


def test_a_folder_without_its_adapter_is_refused(trained, tmp_path):
    bare = shutil.copytree(trained.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("adapter"))
    with pytest.raises(ValueError, match="its folder 'adapter' gives: expected a PRM trained with LoRA"):
        ProcessRewardModel.from_pretrained(bare)


def test_full_weights_have_no_reference(backbone):
    with pytest.raises(ValueError, match=r"implicit compares the model with .* expected lora, got none"):
        prepare_model(backbone, config(lora=None), trust_remote_code=False)
