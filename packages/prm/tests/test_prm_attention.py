"""Every attention back end must compute what each path on its own gives: logits and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eduprm.prm import train_prm
from eduprm.prm.adapters import add_lora
from eduprm.prm.attention import (
    TreeAttention,
    check_mask_honoured,
    dense_mask,
    implementation_of,
    plan_segments,
)
from eduprm.prm.attention.varlen import VARLEN, check_kernel, find_kernel, varlen_attention
from eduprm.prm.compiled import compile_layers
from eduprm.prm.config import LoraSettings, TrainConfig
from eduprm.prm.data import TrainingData
from eduprm.prm.loading import load_classifier
from eduprm.prm.model import packed_logits, to_tensors, unwrap
from eduprm.prm.packing import pack_rows
from eduprm.prm.testing import tiny_backbone
from eduprm.prm.tree import build_tree
from eduprm.prm.unpacked import leaf_chains

CUDA = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not CUDA, reason="needs a CUDA device")


def three_levels():
    """A prompt of 4 tokens, forks at three depths, an empty node, nodes of 1 to 5 tokens: 6 leaves."""
    rng = np.random.default_rng(5)
    parents = [-1, 0, 1, 2, 2, 1, 0, 6, 6, -1]
    nodes = [rng.integers(0, 200, size=n).tolist() for n in (3, 2, 5, 1, 2, 4, 2, 0, 3, 2)]
    return build_tree([7, 8, 9, 10], nodes, parents, targets=rng.random(10))


def others(make_tree):
    return [make_tree(31, num_nodes=8), make_tree(32, num_nodes=3, chain=True)]


def seen_by(plan, size):
    """The plan as a matrix of who sees whom, causal and aligned at the end of the path."""
    sees = np.zeros((size, size), dtype=bool)
    for segment in range(len(plan.query_starts) - 1):
        queries = np.arange(*plan.query_starts[segment : segment + 2])
        path = plan.path_index[slice(*plan.path_starts[segment : segment + 2])]
        for place, query in enumerate(queries):
            sees[query, path[: len(path) - len(queries) + place + 1]] = True
    return sees


@pytest.mark.parametrize("rows", [[[0], [1], [2]], [[0, 1, 2]], [[2, 0], [1]]])
def test_segments_say_what_the_dense_mask_says(make_tree, rows):
    trees = [three_levels(), *others(make_tree)]
    packed = pack_rows(trees, rows, pad_id=0, unit=16)
    batch, width = packed.stops.shape
    assert width % 16 == 0
    plan = plan_segments(packed.stops)
    expected = np.zeros((batch * width, batch * width), dtype=bool)
    for row, mask in enumerate(dense_mask(torch.from_numpy(packed.stops))[:, 0].numpy()):
        expected[row * width : (row + 1) * width, row * width : (row + 1) * width] = mask
    assert np.array_equal(seen_by(plan, batch * width), expected)
    assert plan.longest_path >= np.diff(plan.path_starts).max()
    assert plan.longest_query >= np.diff(plan.query_starts).max()


def test_a_tree_has_as_many_segments_as_leaves_and_gathers_its_paths():
    tree = three_levels()
    plan = plan_segments(pack_rows([tree], [[0]], pad_id=0).stops)
    with_tokens = [leaf for leaf in tree.leaves if tree.lengths[leaf] > 0]
    assert len(plan.query_starts) - 1 == len(with_tokens)
    assert len(plan.path_index) == tree.end_positions[with_tokens].sum()


@pytest.fixture(scope="module", params=["llama", "qwen2", "qwen3"])
def model(request, tmp_path_factory):
    folder = tiny_backbone(tmp_path_factory.mktemp(request.param), architecture=request.param)
    model = load_classifier(folder)
    with torch.no_grad():
        model.score.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(3))
    return model.eval()


def node_logits(logits, trees, slots):
    """[nodes of all trees, 2] at the nodes' last tokens."""
    return torch.cat(
        [
            logits[row, torch.from_numpy(tree.last_tokens + offset)]
            for tree, (row, offset) in zip(trees, slots, strict=True)
        ]
    )


def reference_logits(model, trees):
    """Each path an ordinary causal row, read by transformers itself."""
    model.set_attn_implementation("sdpa")
    found = []
    for tree in trees:
        logits = [None] * len(tree.parents)
        for chain in leaf_chains(tree):
            ids = torch.from_numpy(chain.token_ids.astype(np.int64))[None].to(model.device)
            path = model(input_ids=ids).logits[0]
            for node, row in enumerate(chain.rows.tolist()):
                logits[row] = path[chain.last_tokens[node]]
        found += logits
    return torch.stack(found)


def gradients(model, logits):
    model.zero_grad()
    mix = torch.linspace(-1, 1, logits.numel(), device=logits.device).view_as(logits)
    (logits.float() * mix).sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def assert_equals_paths(model, implementation, trees, *, tolerance, prepared=True):
    reference = reference_logits(model, trees)
    expected = gradients(model, reference)
    model.set_attn_implementation(implementation)
    attention = TreeAttention(implementation, scale=128, always=True)
    packed, fields = attention.pack(trees, pad_id=0)
    batch = {name: tensor.to(model.device) for name, tensor in to_tensors(packed).items()}
    logits = node_logits(
        packed_logits(model, {**batch, **fields} if prepared else batch), trees, packed.slots
    )
    scale = reference.abs().max()
    assert (logits - reference).abs().max() < tolerance * scale
    for name, gradient in gradients(model, logits).items():
        assert (gradient - expected[name]).norm() < tolerance * max(expected[name].norm(), 1), name
    assert (
        max(gradient.abs().max() for gradient in expected.values()) > 1e-3
    )  # the comparison is not of zeros


@pytest.mark.parametrize("implementation", ["sdpa", "eager", VARLEN])
@pytest.mark.parametrize("prepared", [True, False])
def test_back_ends_equal_every_path_on_its_own(model, make_tree, implementation, prepared):
    trees = [three_levels(), *others(make_tree)]
    assert_equals_paths(model, implementation, trees, tolerance=1e-5, prepared=prepared)


@needs_gpu
@pytest.mark.parametrize("implementation", ["sdpa", "eager", "flex_attention", VARLEN])
def test_back_ends_equal_every_path_on_a_gpu(tmp_path, make_tree, implementation):
    model = (
        load_classifier(tiny_backbone(tmp_path, architecture="llama"), dtype=torch.bfloat16).to("cuda").eval()
    )
    torch.nn.init.normal_(model.score.weight, std=0.5)
    assert_equals_paths(model, implementation, [three_levels(), *others(make_tree)], tolerance=5e-2)


@needs_gpu
def test_the_kernel_at_hand_aligns_at_the_end():
    assert find_kernel() is not None
    check_kernel(torch.device("cuda", 0))


def test_short_trees_keep_the_dense_mask_unless_told_otherwise(make_tree):
    trees = others(make_tree)
    _, fields = TreeAttention(VARLEN, scale=128).pack(trees, pad_id=0)
    assert fields == {"causal": False}
    gathered, fields = TreeAttention(VARLEN, scale=128, always=True, unit=64).pack(trees, pad_id=0)
    assert gathered.stops.shape == (1, 64)
    assert "path_index" in fields
    long = build_tree([1] * 2040, [[2] * 20, [3] * 20], [-1, -1])
    assert "path_index" in TreeAttention(VARLEN, scale=128).pack([long], pad_id=0)[1]
    assert "path_index" not in TreeAttention("sdpa", scale=128).pack([long], pad_id=0)[1]


def test_a_batch_that_kept_the_dense_mask_is_computed_with_it(model, make_tree):
    trees = others(make_tree)
    packed, fields = TreeAttention(VARLEN, scale=128).pack(trees, pad_id=0)
    model.set_attn_implementation(VARLEN)
    ours = packed_logits(model, {**to_tensors(packed), **fields})
    model.set_attn_implementation("sdpa")
    assert torch.equal(ours, packed_logits(model, to_tensors(packed)))


def test_a_back_end_that_drops_the_mask_is_found(model):
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    def forgetful(module, query, key, value, attention_mask, **kwargs):
        kwargs.pop("tree_segments", None)
        return sdpa_attention_forward(module, query, key, value, None, **kwargs)

    for implementation in ("sdpa", "eager", VARLEN):
        model.set_attn_implementation(implementation)
        check_mask_honoured(model)
        assert not model.training
    original = AttentionInterface._global_mapping[VARLEN]
    AttentionInterface.register(VARLEN, forgetful)
    try:
        with pytest.raises(ValueError, match="drops the tree mask"):
            check_mask_honoured(model)
    finally:
        AttentionInterface.register(VARLEN, original)


def test_what_the_kernels_do_not_have_is_refused(model):
    from eduprm.prm.attention.varlen import tree_attention_forward

    segments = plan_segments(np.array([[2, 2]]))
    states = torch.zeros(1, 2, 2, 8)
    with pytest.raises(ValueError, match="no softcap"):
        tree_attention_forward(model, states, states, states, None, tree_segments=segments, softcap=30.0)
    with pytest.raises(ValueError, match="expected equal shapes"):
        varlen_attention(states, states, states[..., :4], segments, scale=None)


def test_auto_is_transformers_choice_without_a_gpu_or_half_precision():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert implementation_of("auto", device=cpu, dtype=torch.bfloat16) is None
    assert implementation_of("auto", device=gpu, dtype=torch.float32) is None
    assert (
        implementation_of("auto", device=gpu, dtype=torch.bfloat16) == VARLEN
    )  # torch.nn.attention.varlen is there
    assert implementation_of("varlen", device=cpu, dtype=torch.float32) == VARLEN


@pytest.mark.parametrize("lora", [False, True])
def test_compiled_layers_share_one_code_and_compute_the_same(tmp_path, make_tree, lora):
    """`aot_eager` captures what inductor would compile, without a C compiler."""
    import torch._dynamo.testing

    torch._dynamo.reset()
    model = load_classifier(tiny_backbone(tmp_path, architecture="llama"), attn_implementation=VARLEN)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    if lora:
        model = add_lora(model, LoraSettings(rank=2), last_layers=None)
        for name, value in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.1)
    sizes = ([0, 1, 2], [0, 2], [1, 0])
    trees = [three_levels(), *others(make_tree)]
    batches = []
    for chosen in sizes:
        packed, fields = TreeAttention(VARLEN, scale=128, always=True, unit=128).pack(
            [trees[i] for i in chosen], pad_id=0
        )
        batches.append({**to_tensors(packed), **fields})
    plain = [gradients(model, packed_logits(model, batch)) for batch in batches]
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    assert compile_layers(unwrap(model), backend=counter) == 2
    for batch, expected in zip(batches, plain, strict=True):
        for name, gradient in gradients(model, packed_logits(model, batch)).items():
            assert (gradient - expected[name]).norm() <= 1e-5 * max(expected[name].norm(), 1), name
    # Neither the number of segments nor that of keys compiles anew. With a frozen embedding the first layer's input
    # needs no gradient, which makes a second code.
    assert counter.frame_count == 1 + lora


@pytest.mark.parametrize("settings", [{}, {"lora": None}])
def test_training_on_gathered_paths_takes_the_steps_of_the_dense_mask(
    backbone, builder, make_tree, tmp_path, settings
):
    data = TrainingData([make_tree(seed, num_nodes=3 + seed) for seed in range(4)])
    found = {}
    for name in ("sdpa", "varlen"):
        config = TrainConfig(batch_tokens=64, epochs=2, attn_implementation=name, **settings)
        found[name] = train_prm(
            backbone, data, builder, tmp_path / name, config=config, progress=False
        ).losses
    assert len(found["sdpa"]) > 2
    assert np.allclose(found["sdpa"], found["varlen"], atol=1e-4)


def test_compiling_sharded_weights_is_refused(backbone, builder, make_tree, tmp_path, monkeypatch):
    monkeypatch.setattr("eduprm.prm.train.num_processes", lambda: 2)
    config = TrainConfig(sharding="fsdp", compile=True, accumulation=2)
    with pytest.raises(ValueError, match="compile is for whole weights"):
        train_prm(backbone, TrainingData([make_tree(1)]), builder, tmp_path / "a", config=config)


def test_adapters_over_a_half_precision_base_are_checked_as_they_are_trained(tmp_path):
    folder = tiny_backbone(tmp_path)
    for implementation in ("sdpa", VARLEN):
        model = load_classifier(folder, dtype=torch.bfloat16, attn_implementation=implementation)
        adapted = add_lora(model, LoraSettings(rank=2), last_layers=None)
        assert {value.dtype for name, value in adapted.named_parameters() if "lora_" in name} == {
            torch.float32
        }
        check_mask_honoured(unwrap(adapted))
