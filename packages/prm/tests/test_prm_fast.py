"""Our own decoder layers must compute what transformers' do: hidden states, gradients, whatever is kept or compiled."""

from __future__ import annotations

import pytest
import torch

from eduprm.prm.adapters import prepare_model
from eduprm.prm.attention import dense_mask
from eduprm.prm.config import LoraSettings, Scoring, TrainConfig
from eduprm.prm.fast.backbone import FastBackbone
from eduprm.prm.fast.segments import find_segments
from eduprm.prm.fast.weights import UnsupportedModelError
from eduprm.prm.losses.cross_entropy import Loss as CrossEntropy
from eduprm.prm.losses.fork import Loss as ForkLoss
from eduprm.prm.losses.language_model import Loss as LanguageModelLoss
from eduprm.prm.model import head_output, language_model_output, packed_hidden, to_tensors
from eduprm.prm.packing import pack_rows
from eduprm.prm.testing import tiny_backbone

FAMILIES = ("llama", "qwen2", "qwen3", "mistral")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return tiny_backbone(tmp_path_factory.mktemp(request.param), architecture=request.param)


def adapted(folder, **settings):
    """A model with adapters that do something, and a head that does too."""
    config = TrainConfig(**{"lora": LoraSettings(rank=4), "last_layers": 1, **settings})
    torch.manual_seed(0)
    model = prepare_model(folder, config, trust_remote_code=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "score" in name:
                parameter.normal_(std=0.1)
    return model


def rows_of(trees, rows=None):
    return to_tensors(pack_rows(trees, rows or [[index] for index in range(len(trees))], pad_id=0))


def own_loss(model, batch):
    with torch.autocast("cpu", torch.bfloat16, enabled=next(model.parameters()).dtype == torch.bfloat16):
        return CrossEntropy().total(packed_hidden(model, batch), head_output(model), batch)


def fast_loss(model, fast, batch):
    with torch.autocast("cpu", torch.bfloat16, enabled=fast.dtype == torch.bfloat16):
        return CrossEntropy().total(fast.hidden(batch), head_output(model), batch)


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.float().clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(ours, theirs, tolerance=5e-5):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (ours[name] - value).abs().max() < tolerance * (1 + value.abs().max()), name
    assert max(value.abs().max() for value in theirs.values()) > 1e-3


@pytest.mark.parametrize("last_layers", [1, None])
def test_loss_and_gradients_are_those_of_transformers(folder, make_tree, last_layers):
    model = adapted(folder, last_layers=last_layers)
    batch = rows_of([make_tree(1), make_tree(2, num_nodes=5), make_tree(3, chain=True)], [[0, 1], [2]])
    fast = FastBackbone(model, dtype=torch.float32)
    assert fast.first == (0 if last_layers is None else 1)
    ours, theirs = fast_loss(model, fast, batch), own_loss(model, batch)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert_same(gradient(model, ours), gradient(model, theirs))


def test_losses_of_a_language_model(folder, make_tree):
    model = adapted(folder, losses={"fork": 1.0, "language_model": 0.5}, scoring=Scoring(kind="likelihood"))
    batch = rows_of([make_tree(1), make_tree(2, num_nodes=12), make_tree(3)], [[0, 1], [2]])
    output, fast = language_model_output(model), FastBackbone(model, dtype=torch.float32)
    found = []
    for hidden in (fast.hidden(batch), packed_hidden(model, batch)):
        loss = ForkLoss().total(hidden, output, batch) + LanguageModelLoss().total(hidden, output, batch)
        found.append((loss.item(), gradient(model, loss)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert_same(found[0][1], found[1][1], tolerance=2e-4)


def test_hidden_states_of_a_language_model(folder, make_tree):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).requires_grad_(False)
    batch = rows_of([make_tree(1), make_tree(2)], [[0, 1]])
    own = model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=dense_mask(batch["stops"]),
        use_cache=False,
    ).last_hidden_state
    ours = FastBackbone(model, dtype=torch.float32).hidden(batch)
    assert (ours - own).abs().max() < 1e-4
    assert own.abs().max() > 0.1


def test_full_weights_train_too(folder, make_tree):
    model = adapted(folder, lora=None, last_layers=None)
    batch = rows_of([make_tree(4)])
    fast = FastBackbone(model, dtype=torch.float32)
    assert_same(gradient(model, fast_loss(model, fast, batch)), gradient(model, own_loss(model, batch)))


def test_a_forgotten_adapter_would_be_noticed(folder, make_tree):
    model, batch = adapted(folder), rows_of([make_tree(1)])
    fast = FastBackbone(model, dtype=torch.float32)
    with torch.no_grad():
        before = fast.hidden(batch)
        next(p for name, p in model.named_parameters() if "lora_B" in name).zero_()
        assert (fast.hidden(batch) - before).abs().max() > 1e-3


def test_bfloat16_gradients_point_where_float32_ones_do(folder, make_tree):
    batch = rows_of([make_tree(seed, num_nodes=12) for seed in range(4)])
    wide, half = adapted(folder), adapted(folder, dtype="bfloat16")
    exact = gradient(wide, own_loss(wide, batch))
    fast = FastBackbone(half, dtype=torch.bfloat16)
    rough = gradient(half, fast_loss(half, fast, batch))
    assert exact.keys() == rough.keys()
    flat = [torch.cat([g[name].flatten() for name in sorted(exact)]) for g in (exact, rough)]
    assert torch.cosine_similarity(*flat, dim=0) > 0.999


def test_a_tree_has_the_same_kept_states_in_any_company(folder, make_tree):
    """Bit for bit: what is kept is what would be computed, in other rows or with no room to keep it."""
    model = adapted(folder)
    trees = [make_tree(1), make_tree(2, num_nodes=5), make_tree(3, num_nodes=14)]
    kept, bare = (FastBackbone(model, dtype=torch.float32, kept_bytes=size) for size in (1 << 20, 0))
    first = rows_of(trees, [[0, 1], [2]])
    lower = kept._lower(first)
    assert kept.kept.misses == 3
    assert kept.kept.hits == 0
    assert kept.kept.bytes > 0
    again = rows_of(trees, [[2, 1, 0]])
    ours, anew = kept._lower(again), bare._lower(again)
    assert kept.kept.misses == 3
    assert kept.kept.hits == 3
    assert bare.kept.bytes == bare.kept.hits == 0
    assert torch.equal(ours, anew)
    end = trees[2].num_tokens
    assert torch.equal(ours[0, :end], lower[1, :end])
    assert torch.equal(kept.hidden(again), bare.hidden(again))


def test_trees_are_told_apart_by_ids_and_by_shape(make_tree):
    tree, twin, other = make_tree(1), make_tree(1), make_tree(1, num_nodes=6)
    twin.token_ids[3] += 1
    batch = rows_of([tree, twin, other, tree], [[0, 1], [3, 2]])
    parts = find_segments(batch)
    assert [(part.row, part.start) for part in parts] == [
        (0, 0), (0, tree.num_tokens), (1, 0), (1, tree.num_tokens)
    ]  # fmt: skip
    assert parts[0].key == parts[2].key
    assert len({part.key for part in parts}) == 3
    assert parts[3].end == tree.num_tokens + other.num_tokens  # the padding behind it is not of the tree


def test_other_models_are_refused_with_the_reason(folder, make_tree):
    model = adapted(folder, lora=LoraSettings(rank=4, dropout=0.1))
    with pytest.raises(UnsupportedModelError, match="dropout"):
        FastBackbone(model, dtype=torch.float32)
